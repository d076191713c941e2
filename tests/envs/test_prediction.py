"""Texts and pictures as games: what is seen and asked, and bits per symbol against plain counting."""

from __future__ import annotations

import codecs
import contextlib
import io
import json
import math
from collections import Counter, defaultdict

import numpy as np
import pytest
import torch

from envs import registry, tokens
from envs.game import episode_seed
from envs.prediction.score import Guess
from gurgeh.cli import main
from gurgeh.evaluate import measures_of, refusal
from gurgeh.ngram import NgramPlayer


def zen() -> bytes:
    with contextlib.redirect_stdout(io.StringIO()):
        import this
    return codecs.decode(this.s, "rot13").encode()


def plain_bits(train: list[list[int]], held_out: list[list[int]], contexts: list[list[int]], order: int, size: int):
    """Witten and Bell's model by dictionaries: mean -log2 p of the held-out sequences, each after its context.

    train: sequences; before the beginning stands None.
    """
    counts: dict[tuple, Counter] = defaultdict(Counter)
    for sequence in train:
        padded = [None] * (order - 1) + sequence
        for place in range(order - 1, len(padded)):
            for length in range(order):
                counts[tuple(padded[place - length : place])][padded[place]] += 1

    def p(symbol, context):
        shorter = p(symbol, context[1:]) if context else 1 / size
        seen = counts.get(tuple(context))
        return shorter if not seen else (seen[symbol] + len(seen) * shorter) / (sum(seen.values()) + len(seen))

    total, number = 0.0, 0
    for before, sequence in zip(contexts, held_out):
        whole = [None] * (order - 1) + before + sequence
        for place in range(len(whole) - len(sequence), len(whole)):
            total -= math.log2(p(whole[place], whole[place - order + 1 : place]))
            number += 1
    return total / number


def test_the_zen_is_what_python_prints():
    text = zen()
    assert text.startswith(b"The Zen of Python, by Tim Peters")
    assert bytes(registry.make("text:zen").native.data.tolist()) == text


def test_windows_show_the_text_and_pay_for_the_right_byte():
    text, game = zen(), registry.make("text:zen:context=8:length=4")
    train = len(text) - len(text) // 10
    environment = game.environment(500, 3)
    now, starts, paid = environment.reset(), set(), 0
    random = np.random.default_rng(0)
    for step in range(12):
        state = environment.state
        wanted = [text[place] for place in state.position.tolist()]
        for row, place in enumerate(state.position.tolist()):
            expected = [tokens.PADDING] * (8 - place) + list(text[max(0, place - 8) : place])
            assert now.observation[row].tolist() == expected
            assert place < train
        if step % 4 == 0:
            starts |= set(state.position.tolist())
        right = random.random(500) < 0.5
        action = torch.tensor([byte if good else (byte + 1) % 256 for byte, good in zip(wanted, right)])
        now = environment.step(action)
        assert now.reward[:, 0].tolist() == right.astype(float).tolist()
        assert bool(now.terminated.all()) == (step % 4 == 3)
        paid += right.sum()
    assert max(starts) <= train - 4
    assert len(starts) > 600  # drawn from everywhere
    assert game.native.legal(state)[0].nonzero()[:, 0].tolist() == sorted(set(text))


def test_every_start_in_the_training_text_and_none_beyond():
    rules = registry.make("text:zen").native
    state = rules.initial(torch.as_tensor(episode_seed(1, np.arange(30_000), 0)))
    assert sorted(set(state.position.tolist())) == list(range(rules.train - 16 + 1))


@pytest.mark.parametrize("order", [1, 2, 4])
def test_bits_per_byte_of_an_ngram_are_those_of_plain_counting(order):
    text, rules = list(zen()), registry.make("text:zen").native
    train = len(text) - len(text) // 10
    found = measures_of(NgramPlayer(rules, order), rules)["bits_per_byte"]
    expected = plain_bits([text[:train]], [text[train:]], [text[:train]], order, len(set(text)))
    assert found.positions == len(text) - train
    assert found.raw == pytest.approx(expected, abs=1e-9)
    assert found.reference == math.log2(len(set(text)))


def test_probabilities_of_an_ngram_sum_to_one_over_the_legal_symbols():
    rules = registry.make("text:zen").native
    state, _ = rules.lessons()
    p = NgramPlayer(rules, 3).probabilities(state)
    assert torch.allclose(p.sum(1), torch.ones(len(p), dtype=torch.float64))
    assert bool((p > 0).eq(rules.legal(state)).all())


def test_a_bigger_text_is_compressed():
    try:
        rules = registry.make("text:tz").native
    except registry.MissingExtraError as error:
        pytest.skip(str(error))
    assert b"public domain" in bytes(rules.data[:120].tolist())
    bits = [measures_of(NgramPlayer(rules, order), rules)["bits_per_byte"] for order in (2, 3, 5)]
    assert bits[0].positions == 4096
    assert bits[2].raw < bits[1].raw < bits[0].raw < bits[0].reference


def test_digits_show_the_picture_so_far():
    datasets = pytest.importorskip("sklearn.datasets")
    pictures = (datasets.load_digits().data.astype(int) * 4 // 17).astype(int)
    environment = registry.make("digits:4").environment(16, 5)
    now = environment.reset()
    for place in range(64):
        state = environment.state
        for row, number in enumerate(state.picture.tolist()):
            assert number < 1797 - 1797 // 5
            seen = now.observation[row].flatten(1)
            shown = [int(seen[:4, pixel].argmax()) for pixel in range(place)]
            assert shown == pictures[number, :place].tolist()
            assert int(seen[:4, place:].sum()) == 0
            assert seen[4].nonzero()[:, 0].tolist() == [place]
        answer = torch.tensor([pictures[number, place] for number in state.picture.tolist()])
        now = environment.step(torch.where(torch.arange(16) < 8, answer, (answer + 1) % 4))
        assert now.reward[:, 0].tolist() == [1.0] * 8 + [0.0] * 8
        assert bool(now.terminated.all()) == (place == 63)


@pytest.mark.parametrize("order", [1, 3])
def test_bits_per_dimension_of_an_ngram_are_those_of_plain_counting(order):
    datasets = pytest.importorskip("sklearn.datasets")
    pictures = (datasets.load_digits().data.astype(int) * 4 // 17).tolist()
    train = 1797 - 1797 // 5
    rules = registry.make("digits:4").native
    found = rules.measure(predictor_of(NgramPlayer(rules, order)), 10**6)["bits_per_dim"]
    expected = plain_bits(pictures[:train], pictures[train:], [[]] * 359, order, 4)
    assert found.positions == 359 * 64
    assert found.raw == pytest.approx(expected, abs=1e-9)
    assert found.reference == 2.0
    assert found.raw < 2.0


def predictor_of(player):
    return lambda states: (lambda d: Guess(d.action, d.policy, d.prior))(player.act_on_state(states, None))


def test_the_log_score_of_who_knows_and_of_who_is_sure_and_wrong():
    rules = registry.make("text:zen").native

    def oracle(states, shift):
        answer = (rules.data[states.position].long() + shift) % 256
        sure = torch.nn.functional.one_hot(answer, 256).double()
        return Guess(answer, sure, None)

    knows = rules.measure(lambda states: oracle(states, 0), 50)
    assert (knows["bits_per_byte"].search, knows["bits_per_byte"].raw, knows["right"].search) == (0.0, None, 1.0)
    assert knows["bits_per_byte"].positions == 50
    wrong = rules.measure(lambda states: oracle(states, 1), 50)
    assert (wrong["bits_per_byte"].search, wrong["right"].search) == (math.inf, 0.0)


def test_evaluate_shows_bits_per_byte(tmp_path, capsys):
    text = zen()
    assert main(["evaluate", "random", "--game", "text:zen", "--episodes", "4", "--json"]) == 0
    measures = json.loads(capsys.readouterr().out)["games"][0]["summary"]["measures"]
    even = math.log2(len(set(text)))
    assert measures["bits_per_byte"]["search"] == pytest.approx(even)
    assert measures["bits_per_byte"]["reference"] == pytest.approx(even)
    save = ["--save", str(tmp_path)]
    assert main(["evaluate", "ngram:2", "--game", "text:zen", "--episodes", "4", *save]) == 0
    shown = capsys.readouterr().out
    line = next(line for line in shown.splitlines() if "bits_per_byte" in line)
    assert line.split()[-1] == f"{even:.4f}"
    summary = next(path for path in tmp_path.glob("*.json"))
    assert json.loads(summary.read_text())["summary"]["measures"]["right"]["positions"] == len(text) // 10


def test_goals_name_measures():
    from gurgeh.goals import judge, parse_goal

    found = {"bits_per_byte": {"search": None, "raw": 2.5, "reference": 5.0, "positions": 9}}
    report = {"games": [{"game": "text:zen", "players": ["agent"], "summary": {"measures": found}}]}
    goals = ["text:zen bits_per_byte <= 2.6", "text:zen bits_per_byte <= 2.4", "text:zen right >= 0.5"]
    assert [(judged.found, judged.met) for judged in judge(goals, report)] == [(2.5, True), (2.5, False), (None, False)]
    found["bits_per_byte"]["search"] = "infinite"
    assert [judged.met for judged in judge(goals[:1], report)] == [False]
    with pytest.raises(ValueError, match="is not written GAME MEASURE"):
        parse_goal("text:zen bits_per_word <= 3")


def test_short_evaluations_measure_too():
    from agents.player import RandomPlayer
    from gurgeh.brief import brief_evaluation
    from gurgeh.evaluate import EvaluationConfig

    game = registry.make("text:zen")
    found = brief_evaluation(game, RandomPlayer(game.spec), 4, 0, EvaluationConfig())
    assert found["bits_per_byte"] == pytest.approx(math.log2(len(set(zen()))))
    assert set(found) == {"return", "bits_per_byte", "right"}


def test_a_network_reads_texts_and_its_bits_are_finite():
    from agents.acting import SearchConfig
    from agents.agent import NetworkPlayer
    from agents.network import MultiGameNetwork, NetworkConfig

    games = [registry.make(name) for name in ("text:zen", "text:zen:context=8:length=4", "tictactoe", "cottage")]
    network = MultiGameNetwork(NetworkConfig(width=16, hidden=32), [game.spec for game in games], seed=0)
    for game in games[:2]:
        player = NetworkPlayer(network, game.spec, SearchConfig(), 1.0, 4)
        found = measures_of(player, game.native)["bits_per_byte"]
        assert abs(found.raw - found.reference) < 1.0  # untrained: close to even
        assert math.isfinite(found.search)
    rules = games[0].native
    state, _ = rules.lessons()
    latent = network.represent("text:zen", rules.observe(state))
    assert len(latent.flatten(1).unique(dim=0)) > 0.9 * len(latent)  # places are told apart


def test_rules_that_know_the_answer_are_not_searched():
    for name in ("text:zen", "digits:4"):
        try:
            game = registry.make(name)
        except registry.MissingExtraError as error:
            pytest.skip(str(error))
        assert "hidden information" in refusal("mcts:10", game)
    assert "which tictactoe is not about" in refusal("ngram:2", registry.make("tictactoe"))


def test_a_file_of_the_users(tmp_path):
    path = tmp_path / "a:b.txt"
    path.write_bytes(b"abcabcabd" * 40)
    game = registry.make(f"text:{path}:length=5")
    assert (game.spec.name, game.spec.max_length) == (f"text:{path}:length=5", 5)
    assert registry.make(game.name).spec == game.spec
    before = game.spec.version
    path.write_bytes(b"abcabcabe" * 40)
    assert registry.make(f"text:{path}:length=5").spec.version != before


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("text", "the text is missing; write text:zen"),
        ("text:nowhere.txt", "'nowhere.txt' is neither a file nor one of zen, tz"),
        ("text:zen:context=0", "'context=0' is not context=BYTES or length=BYTES with 1 to 4096 bytes"),
        ("text:zen:context=8:context=9", "the option context is given twice"),
        ("text:zen:length=900", "a window of 900 bytes does not fit"),
        ("digits", "the levels are missing"),
        ("digits:18", "18 levels of grey are not offered"),
        ("digits:x", "'x' are no whole number"),
    ],
)
def test_bad_settings_say_what_to_do(name, message):
    with pytest.raises(ValueError, match=message):
        registry.make(name)


def test_too_short_a_text(tmp_path):
    (tmp_path / "short.txt").write_text("abc")
    with pytest.raises(ValueError, match="the text has 3 bytes; 256 are needed"):
        registry.make(f"text:{tmp_path / 'short.txt'}")


@pytest.mark.parametrize("name", ["ngram", "ngram:0", "ngram:8", "ngram:x"])
def test_bad_ngrams_say_what_to_do(name, capsys):
    assert main(["evaluate", name, "--game", "text:zen"]) == 2
    assert "write ngram:N with N from 1 to 7" in capsys.readouterr().err


def test_missing_scikit_learn_is_one_line(monkeypatch):
    import importlib.util

    from envs.prediction import digits

    digits.greys.cache_clear()
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "sklearn" else find(name, *rest)
    )
    with pytest.raises(
        registry.MissingExtraError, match=r"scikit-learn is not installed: pip install 'gurgeh\[digits\]'"
    ):
        registry.make("digits:4")
    digits.greys.cache_clear()


def test_tokens_are_bytes_and_marks():
    assert tokens.encode("ab", 4).tolist() == [256, 256, 97, 98]
    assert tokens.encode("abcdef", 3).tolist() == [100, 101, 102]
    assert tokens.decode(tokens.encode("grün", 9)) == "grün"
    shown = torch.tensor([tokens.PADDING, 97, tokens.COMMAND, 98, tokens.OTHER, 99])
    assert tokens.decode(shown) == "a\n> b\n< c"
