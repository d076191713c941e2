"""OpenSpiel's games against pyspiel played by hand: moves, results, chance, what is hidden, and the contract."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from envs import registry
from envs.check import check
from envs.game import ObservationKind

pyspiel = pytest.importorskip("pyspiel")
from envs.adapters import openspiel  # noqa: E402

GAMES = {  # moves in each of two copies
    "hex(board_size=4)": 40,
    "othello": 70,
    "breakthrough(columns=4,rows=5)": 60,
    "go(board_size=5)": 60,
    "chess": 30,
    "tic_tac_toe": 40,
    "connect_four": 60,
    "backgammon": 40,
    "2048": 60,
    "hanabi": 40,
    "kuhn_poker": 30,
    "leduc_poker": 40,
    "leduc_poker(players=3)": 40,
    "liars_dice": 30,
    "bargaining": 40,
    "negotiation": 40,
    "goofspiel(num_cards=4)": 40,  # simultaneous bids
    "pig": 60,
    "misere(game=tic_tac_toe())": 40,
    "mnk(m=4,n=5)": 60,
    "y(board_size=4)": 40,
    "havannah(board_size=3)": 40,
    "pentago": 80,
}


def random_moves(name, moves, seed=0, copies=1):
    """Timesteps and actions of random play."""
    environment = registry.make(f"openspiel/{name}").environment(copies, seed)
    random = np.random.default_rng(seed)
    shown, played = [environment.reset()], []
    for _ in range(moves):
        action = torch.tensor([random.choice(np.flatnonzero(row)) for row in shown[-1].legal.numpy()])
        shown.append(environment.step(action))
        played.append(action)
    return shown, played


@pytest.mark.parametrize(("name", "moves"), GAMES.items())
def test_games_keep_the_contract(name, moves):
    report = check(registry.make(f"openspiel/{name}"), num_copies=2, num_moves=moves)
    assert report.findings() == []


@pytest.mark.parametrize("name", ["mancala", "oware", "chess", "checkers", "dots_and_boxes", "nim"])
def test_without_chance_it_is_pyspiels_own_state(name):
    """Legal moves, mover, view, end and result of every position, replayed on states of a game of its own."""
    shown, played = random_moves(name, 120)
    inner = pyspiel.load_game(name)
    state, ended = inner.new_initial_state(), 0
    for before, action, after in zip(shown, played, shown[1:]):
        assert before.legal[0].nonzero().flatten().tolist() == sorted(state.legal_actions())
        assert int(before.to_play[0]) == state.current_player()
        state.apply_action(int(action))
        over = state.is_terminal()
        assert bool(after.terminated[0]) == over
        assert np.allclose(after.reward[0], state.returns() if over else [0, 0])
        seat = int(after.final_to_play[0])
        assert over or seat == state.current_player()
        expected = np.asarray(state.observation_tensor(seat), np.float32)
        seen = after.final_observation[0].numpy().ravel()
        assert np.array_equal(seen[: len(expected)], expected)
        ones = seen[len(expected) :].reshape(2, -1)  # the seat, as a plane or an entry of ones
        assert ones[seat].all()
        assert not ones[1 - seat].any()
        if over:
            state, ended = inner.new_initial_state(), ended + 1
    assert name in ("chess", "checkers") or ended > 0


@pytest.mark.parametrize("name", ["hex(board_size=3)", "mancala", "leduc_poker(players=3)", "bargaining"])
def test_results_are_the_returns_of_every_seat(name):
    """The environment's states themselves are asked; the sum of an episode's rewards is their returns."""
    game = registry.make(f"openspiel/{name}")
    environment = game.environment(1, 3)
    now, random, total, ended = environment.reset(), np.random.default_rng(1), np.zeros(game.spec.num_players), 0
    while ended < 10:
        state = environment._states[0]
        now = environment.step(torch.tensor([int(random.choice(np.flatnonzero(now.legal[0].numpy())))]))
        total += now.reward[0].numpy()
        if bool(now.terminated[0]):
            assert state.is_terminal()
            assert np.allclose(total, state.returns())
            total[:] = 0
            ended += 1


def test_rewards_of_every_move_add_up_to_the_returns():
    """2048 pays for each move; what it paid so far is in its returns."""
    environment = registry.make("openspiel/2048").environment(1, 0)
    now, random, total = environment.reset(), np.random.default_rng(0), 0.0
    paid = 0
    for _ in range(80):
        now = environment.step(torch.tensor([int(random.choice(np.flatnonzero(now.legal[0].numpy())))]))
        if bool(now.terminated[0] | now.truncated[0]):
            break
        total += float(now.reward[0, 0])
        paid += bool(now.reward[0, 0] > 0)
        assert total == environment._states[0].returns()[0]
    assert paid > 10


@pytest.mark.parametrize("name", ["connect_four", "tic_tac_toe"])
def test_boards_are_shown_as_native_ones_are(name):
    """Mine, then theirs: the first two planes, the legal moves, the results are those of our own rules."""
    ours = {"tic_tac_toe": "tictactoe"}.get(name, name)
    wrapped, native = registry.make(f"openspiel/{name}"), registry.make(ours)
    assert wrapped.spec.action_keys == native.spec.action_keys
    assert wrapped.spec.board_planes
    left, right = wrapped.environment(4, 0), native.environment(4, 0)
    one, other = left.reset(), right.reset()
    random, flip = np.random.default_rng(0), [] if name == "tic_tac_toe" else [2]
    for _ in range(60):
        for field in ("legal", "to_play", "reward", "terminated"):
            assert torch.equal(getattr(one, field), getattr(other, field)), field
        seen = one.observation[:, :2]
        assert torch.equal(seen.flip(flip) if flip else seen, other.observation.float())
        action = torch.tensor([random.choice(np.flatnonzero(row)) for row in one.legal.numpy()])
        one, other = left.step(action), right.step(action)


def test_chance_is_drawn_with_the_games_probabilities_and_from_the_seed():
    """The first card of Kuhn poker is one of three; the same seed deals the same."""
    environment = registry.make("openspiel/kuhn_poker").environment(600, 7)
    first = environment.reset()
    cards = [state.history()[0] for state in environment._states]
    counts = np.bincount(cards, minlength=3)
    assert counts.sum() == 600
    assert abs(counts - 200).max() < 60  # five standard deviations
    again = registry.make("openspiel/kuhn_poker").environment(600, 7).reset()
    assert torch.equal(first.observation, again.observation)
    assert not torch.equal(first.observation, environment.reset(np.arange(600)).observation)


def test_chance_after_a_move_follows_the_dice():
    """Pig's die: what 500 first rolls show."""
    environment = registry.make("openspiel/pig").environment(500, 1)
    environment.reset()
    environment.step(torch.zeros(500, dtype=torch.int64))  # roll
    rolls = np.bincount([state.history()[1] for state in environment._states], minlength=6)
    assert rolls.sum() == 500
    assert abs(rolls - 500 / 6).max() < 45


def test_a_player_does_not_see_the_others_card():
    """Kuhn poker: the first player's view depends on its own card alone."""
    environment = registry.make("openspiel/kuhn_poker").environment(64, 0)
    first = environment.reset()
    views = {}
    for copy, state in enumerate(environment._states):
        views.setdefault(state.history()[0], set()).add(first.observation[copy].numpy().tobytes())
    assert {len(seen) for seen in views.values()} == {1}
    assert len(set.union(*views.values())) == 3
    assert not registry.make("openspiel/kuhn_poker").spec.perfect_information


def test_simultaneous_moves_are_hidden_until_all_have_moved():
    """Goofspiel: what seat 1 sees before its bid does not tell what seat 0 has just bid; its own bid later does."""
    game = registry.make("openspiel/goofspiel(num_cards=4,points_order=descending)")
    environment = game.environment(2, 0)
    environment.reset()
    now = environment.step(torch.tensor([0, 3]))
    assert now.to_play.tolist() == [1, 1]
    assert torch.equal(now.observation[0], now.observation[1])
    after = environment.step(torch.tensor([1, 1]))
    assert not torch.equal(after.observation[0], after.observation[1])
    assert not game.spec.perfect_information


def test_an_imperfect_game_is_seen_with_its_history():
    """Leduc poker's information state tells the bets so far, its observation only how much is in."""
    game = registry.make("openspiel/leduc_poker")
    inner = pyspiel.load_game("leduc_poker")
    assert game.spec.observation.shape == (inner.information_state_tensor_size() + 2,)
    assert game.spec.observation.kind is ObservationKind.VECTOR


def test_names_and_parameters():
    make = registry.make
    assert make("openspiel/hex(board_size=5)").name == make("openspiel/hex:board_size=5").name
    assert make("openspiel/hex:board_size=5").name == "openspiel/hex(board_size=5)"
    assert make("openspiel/chess").name == "openspiel/chess"
    assert make("openspiel/breakthrough:rows=6:columns=5").spec.name == "openspiel/breakthrough(columns=5,rows=6)"
    assert make("openspiel/leduc_poker:players=3").spec.num_players == 3


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("openspiel/hexx", "unknown game 'openspiel/hexx': did you mean openspiel/hex"),
        ("openspiel/hex(size=5)", "openspiel/hex.size=5.: .*size"),
        ("openspiel/hex:5", "write openspiel/hex:PARAMETER=VALUE"),
        ("openspiel/mfg_crowd_modelling", "is a mean-field game"),
    ],
)
def test_bad_names_say_what_to_do(name, message):
    with pytest.raises(ValueError, match=message) as caught:
        registry.make(name)
    assert "\n" not in str(caught.value)


def test_every_game_that_is_not_offered_has_a_reason():
    offered = {name.partition("/")[2] for name in openspiel.names()}
    reasons = {kind.short_name: openspiel.refusal(kind) for kind in openspiel._kinds()}
    assert len(offered) > 90
    assert {name for name, reason in reasons.items() if reason is None} == offered


def test_unknown_parameters_are_named_on_one_line(capfd):
    with pytest.raises(ValueError, match=r"openspiel/hex:board=3: no parameter 'board'; its parameters are board_size"):
        registry.make("openspiel/hex:board=3")
    assert capfd.readouterr() == ("", "")  # OpenSpiel writes to the terminal itself
    assert registry.make("openspiel/hex:board_size=3").spec.num_actions == 9
