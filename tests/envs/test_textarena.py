"""TextArena's games of talk: the contract, the package's own play, and what nobody may hear."""

from __future__ import annotations

import random
import re

import numpy as np
import pytest
import torch

from envs import registry, tokens
from envs.check import check
from envs.game import MissingExtraError, episode_seed

NEGOTIATION, MAFIA, TABOO = (
    f"textarena/{name}" for name in ("SimpleNegotiation-v0", "SecretMafia-v0", "Taboo-v0-animals")
)


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"textarena is not installed: pip install 'gurgeh\[textarena\]'"):
        registry.make(NEGOTIATION)


@pytest.fixture(autouse=True)
def _installed(request):
    if "without" not in request.node.name:
        pytest.importorskip("textarena", reason="pip install 'gurgeh[textarena]'")


def texts(game, now, copy=0):
    """What the mover sees, and what each legal action says."""
    said = game.environment(1, 0)._commands
    legal = now.legal[copy].nonzero()[:, 0].tolist()
    if said is None:
        commands = {action: tokens.decode(game.spec.commands(now.observation[copy])[action]) for action in legal}
    else:
        commands = {action: said[action] for action in legal}
    return tokens.decode(game.spec.text(now.observation[copy])), commands


@pytest.mark.parametrize(("name", "moves"), [(NEGOTIATION, 60), (MAFIA, 130), (TABOO, 60)])
def test_they_keep_the_contract(name, moves):
    report = check(registry.make(name), num_copies=2, num_moves=moves)
    assert report.findings() == []
    seen = {result.check for result in report.results if not result.skipped}
    assert {"final observation", "next episode", "determinism", "independent copies", "save and restore"} <= seen


@pytest.mark.parametrize("name", [NEGOTIATION, MAFIA, TABOO])
def test_the_package_plays_the_same(name):
    """The same texts in TextArena's own loop, alone in the process: the same seats, messages and rewards."""
    import textarena

    game = registry.make(name)
    environment = game.environment(1, 5)
    now, choose = environment.reset(), np.random.default_rng(3)
    own = textarena.make(name.removeprefix("textarena/") + "-raw")
    state = random.getstate()
    random.seed(0)
    own.reset(num_players=game.spec.num_players, seed=int(episode_seed(5, 0, 0)))
    mine = random.getstate()
    moves = 0
    while True:
        seat, messages = own.get_observation()
        assert int(now.to_play) == seat
        shown, commands = texts(game, now)
        heard = [message for _, message, kind in messages if kind.name != "PROMPT"]
        if heard:  # what was said last stands at the end
            assert shown.endswith(heard[-1][-40:])
        random.setstate(state)  # whoever else draws must not be noticed
        random.random()
        action = int(choose.choice(list(commands)))
        now = environment.step(torch.tensor([action]))
        random.setstate(mine)
        over, _ = own.step(commands[action])
        mine = random.getstate()
        assert not own.state.made_invalid_move
        moves += 1
        assert bool(now.terminated) == over
        if over:
            break
        assert not bool(now.reward.any())
    random.setstate(state)
    assert now.reward[0].tolist() == [own.state.rewards[seat] for seat in range(game.spec.num_players)]
    assert moves <= game.spec.max_length


def test_pythons_generator_is_left_alone():
    before = random.getstate()
    game = registry.make(MAFIA)
    environment = game.environment(2, 0)
    now = environment.reset()
    for _ in range(40):
        now = environment.step(now.legal.long().argmax(1))
    assert random.getstate() == before


def test_a_trade():
    game = registry.make(NEGOTIATION)
    environment = game.environment(1, 1)
    now = environment.reset()
    env = environment._envs[0]
    held = {seat: dict(env.state.game_state["player_resources"][seat]) for seat in (0, 1)}
    _, commands = texts(game, now)
    assert "[Accept]" not in commands.values()  # there is no offer
    say = {text: action for action, text in commands.items()}
    now = environment.step(torch.tensor([say["[Offer: 2 Wheat -> 1 Ore]"]]))
    shown, commands = texts(game, now)
    assert "Offered 2 Wheat for 1 Ore." in shown
    now = environment.step(torch.tensor([{text: action for action, text in commands.items()}["[Accept]"]]))
    after = env.state.game_state["player_resources"]
    assert (after[0]["Wheat"], after[0]["Ore"]) == (held[0]["Wheat"] - 2, held[0]["Ore"] + 1)
    assert (after[1]["Wheat"], after[1]["Ore"]) == (held[1]["Wheat"] + 2, held[1]["Ore"] - 1)
    gain = env.state.game_state["inventory_value"][0]["change"]
    assert f"Gain {gain:+d}." in texts(game, now)[0]
    while not bool(now.terminated):
        now = environment.step(torch.tensor([1]))  # deny, which offers nothing
    assert now.reward[0].tolist() == ([1.0, -1.0] if gain > 0 else [-1.0, 1.0])


def test_nobody_offers_or_accepts_what_is_not_there():
    game = registry.make(NEGOTIATION)
    environment = game.environment(1, 0)
    now = environment.reset()
    env = environment._envs[0]
    env.state.game_state["player_resources"][0] = dict.fromkeys(env.resource_names, 0) | {"Ore": 1}
    environment._show_copy(0, False)
    now = now._replace(observation=torch.from_numpy(environment.observation), legal=torch.from_numpy(environment.legal))
    offers = [text for text in texts(game, now)[1].values() if "Offer" in text]
    assert offers
    assert all(text.startswith("[Offer: 1 Ore") for text in offers)


def test_what_the_night_hides():
    """Villagers never read who is Mafia, nor hear the Mafia's and the Detective's words."""
    game = registry.make(MAFIA)
    environment = game.environment(8, 2)
    now, choose = environment.reset(), np.random.default_rng(0)
    looked_at = 0
    for _ in range(60):
        for copy in range(8):
            env, seat = environment._envs[copy], int(now.to_play[copy])
            shown = texts(game, now, copy)[0]
            role = env.player_roles[seat]
            brief = shown.split("\n")[0]
            assert f"You are Player {seat}, {role}" in brief
            assert ("with Player" in brief) == (role == "Mafia")
            if role in ("Villager", "Doctor"):
                looked_at += 1
                assert "agree on a victim" not in shown
                assert not re.search(r"IS (NOT )?a Mafia member", shown)
        now = environment.step(torch.tensor([choose.choice(np.flatnonzero(row)) for row in now.legal.numpy()]))
    assert looked_at > 50


def test_a_guesser_never_reads_the_word():
    game = registry.make(TABOO)
    environment = game.environment(6, 0)
    now, choose = environment.reset(), np.random.default_rng(0)
    for _ in range(48):
        for copy in range(6):
            env, seat = environment._envs[copy], int(now.to_play[copy])
            shown, commands = texts(game, now, copy)
            word = env.state.game_state["word_to_guess"]
            if seat % 2:
                assert "The word" not in shown
                assert "Taboo words" not in shown
                assert f"[{word}]" in commands.values()
            else:
                assert f"The word is {word}." in shown
                assert not any(word.lower() in clue.lower() for clue in commands.values())
        now = environment.step(torch.tensor([choose.choice(np.flatnonzero(row)) for row in now.legal.numpy()]))


def test_a_right_guess_scores():
    game = registry.make(TABOO)
    environment = game.environment(1, 0)
    now = environment.reset()
    env = environment._envs[0]
    while not bool(now.terminated):
        _, commands = texts(game, now)
        word, right = env.state.game_state["word_to_guess"], {text: action for action, text in commands.items()}
        knows = int(now.to_play) == 1  # team 0 is told by us
        action = right[f"[{word}]"] if knows else next(iter(commands))
        now = environment.step(torch.tensor([action]))
    assert now.reward[0].tolist() == [1.0, 1.0, -1.0, -1.0]


def test_every_word_has_clues_and_room():
    from envs.adapters import textarena as adapter

    silent = []
    for name in adapter.NAMES:
        if not name.startswith("Taboo"):
            continue
        env, spec = adapter._make_one(name), registry.make(f"textarena/{name}").spec
        env.reset(num_players=4, seed=0)
        for word, taboo in env.data.items():
            env.state.game_state |= {"word_to_guess": word, "taboo_words": taboo}
            clues = adapter._taboo(env)
            if adapter.SILENCE in clues:  # "It" is forbidden, and every clue begins with it
                silent.append(word)
            tokens.encode_position("", clues, spec)
        env.state.current_player_id = 1
        tokens.encode_position("", adapter._taboo(env), spec)
    assert len(silent) <= 3


def test_names():
    assert NEGOTIATION in registry.names()
    with pytest.raises(ValueError, match="did you mean textarena/SecretMafia-v0"):
        registry.make("textarena/SecretMafia")
