"""The contract over every kind of game that is installed, and the adapters against the packages they wrap."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch

from envs import registry
from envs.check import check
from envs.game import Environment, MissingExtraError, ObservationKind, episode_seed

NATIVE = [name for origin, names, _ in registry.groups() if origin == "native" for name in names]
WRAPPED = {  # a representative of each kind, and the moves that it takes to see an episode end
    "CartPole-v1": 100,
    "FrozenLake-v1": 100,
    "Taxi-v4": 210,
    "minatar/asterix": 100,
    "minatar/breakout": 100,
    "minatar/freeway": 60,
    "minatar/seaquest": 100,
    "minatar/space_invaders": 100,
    "pettingzoo/tictactoe_v3": 60,
    "pettingzoo/connect_four_v3": 60,
    "pettingzoo/go_v5": 20,
    "pettingzoo/chess_v6": 8,
}


def installed_game(name):
    """The game, or a skipped test where its package is missing."""
    try:
        return registry.make(name)
    except MissingExtraError as error:
        pytest.skip(str(error))


NO_BOARD = {"legal moves", "moves on the board", "mine and theirs", "symmetries"}
NOTHING_TO_CHECK = {  # what a native game need not have, by what its name begins with
    "breakthrough": {"legal moves", "moves on the board"},  # a piece moves, it is not put down
    "catch": {"legal moves", "moves on the board", "mine and theirs", "reward goes to seats", "symmetries"},
    "2048": {"legal moves", "moves on the board", "mine and theirs", "reward goes to seats", "symmetries"},
    "pig": {"legal moves", "moves on the board", "mine and theirs", "reward goes to seats", "symmetries"},
    "kuhn": NO_BOARD,
    **dict.fromkeys(
        ("text", "digits", "motion", "pendulum", "aim", "matrix", "cottage", "errand"),
        NO_BOARD | {"reward goes to seats"},
    ),
    "mnk3": {"reward goes to seats"},
    "twin:": {"legal moves", "moves on the board", "mine and theirs"},
    "twin:1:2048": {"reward goes to seats", "symmetries"},
    "scrambled": {"legal moves", "moves on the board", "mine and theirs", "reward goes to seats", "symmetries"},
    "go:9": {"reward goes to seats"},  # too few games end in 200 moves; the small boards show it
    "othello:8": {"reward goes to seats"},
    "breakthrough:8x8": {"reward goes to seats"},
}


@pytest.mark.parametrize("name", NATIVE)
def test_native_games_keep_the_contract(name):
    report = check(installed_game(name), num_moves=200)
    # Who completes a row is meant to lose there; that is asked about, and is no breach.
    assert [check for check, _ in report.findings()] == ["reward goes to seats"] * ("misere" in name)
    assert report.ok
    spec = registry.make(name).spec
    expected = (set() if spec.num_outcomes else {"chance"}) | (set() if spec.action_tokens else {"commands"})
    expected |= set() if spec.box else {"box of actions"}
    for start, checks in NOTHING_TO_CHECK.items():
        expected |= checks if name.startswith(start) else set()
    assert {result.check for result in report.results if result.skipped} == expected


@pytest.mark.parametrize(("name", "moves"), WRAPPED.items())
def test_wrapped_games_keep_the_contract(name, moves):
    report = check(installed_game(name), num_copies=3, num_moves=moves)
    assert report.findings() == []
    assert isinstance(installed_game(name).environment(1, 0), Environment)


def test_cartpole_plays_gymnasiums_single_environment_to_the_bit():
    copies, seed = 5, 3
    environment = registry.make("CartPole-v1").environment(copies, seed)
    singles = [gymnasium.make("CartPole-v1") for _ in range(copies)]
    episode = np.zeros(copies, int)
    shown = [env.reset(seed=int(episode_seed(seed, copy, 0)))[0] for copy, env in enumerate(singles)]
    now = environment.reset()
    random = np.random.default_rng(0)
    for _ in range(300):
        assert np.array_equal(now.observation.numpy(), np.stack(shown))
        action = random.integers(0, 2, copies)
        now = environment.step(torch.tensor(action))
        for copy, env in enumerate(singles):
            shown[copy], reward, terminated, truncated, _ = env.step(int(action[copy]))
            assert np.array_equal(now.final_observation[copy].numpy(), shown[copy])
            assert (float(now.reward[copy, 0]), bool(now.terminated[copy])) == (reward, terminated)
            if terminated or truncated:
                episode[copy] += 1
                shown[copy] = env.reset(seed=int(episode_seed(seed, copy, int(episode[copy]))))[0]
    assert episode.min() > 5


def test_cartpole_is_truncated_at_its_limit_and_its_value_goes_on():
    environment = registry.make("CartPole-v1").environment(1, 0)
    now = environment.reset()
    for move in range(1, 501):
        _, speed, angle, turning = now.observation[0].tolist()
        now = environment.step(torch.tensor([int(angle + 0.3 * turning + 0.03 * speed > 0)]))
        assert not bool(now.terminated[0])
        assert bool(now.truncated[0]) == (move == 500)


@pytest.mark.parametrize("game", ["asterix", "breakout", "freeway", "seaquest", "space_invaders"])
def test_minatar_plays_the_packages_own_environment(game):
    minatar = pytest.importorskip("minatar")
    environment = registry.make(f"minatar/{game}:paper").environment(1, 0)
    own = minatar.Environment(game, sticky_action_prob=0.1, difficulty_ramping=True)
    random = np.random.default_rng(1)
    for seed in (11, 12):
        now = environment.reset(np.array([seed]))
        own.seed(seed)
        own.last_action = 0  # the package lets it pass from one episode to the next
        own.reset()
        for _ in range(300):
            assert np.array_equal(now.observation[0].numpy(), own.state().transpose(2, 0, 1))
            action = int(random.integers(6))
            now = environment.step(torch.tensor([action]))
            assert (float(now.reward[0, 0]), bool(now.terminated[0])) == own.act(action)
            if bool(now.terminated[0]):
                assert np.array_equal(now.final_observation[0].numpy(), own.state().transpose(2, 0, 1))
                break


def test_minatar_offers_only_actions_that_do_something():
    assert installed_game("minatar/breakout").spec.action_keys == ("joystick noop", "joystick left", "joystick right")
    assert installed_game("minatar/breakout:full").spec.num_actions == 6


def test_given_seeds_replace_those_of_the_first_episode_only():
    game = registry.make("CartPole-v1")
    environment = game.environment(3, 9)
    seeds = np.array([5, 6, 5])
    first = environment.reset(seeds)
    assert torch.equal(first.observation[0], first.observation[2])
    single = gymnasium.make("CartPole-v1")
    for copy, seed in enumerate(seeds):
        assert np.array_equal(first.observation[copy].numpy(), single.reset(seed=int(seed))[0])
    now = first
    while not bool(now.terminated[1]):
        now = environment.step(torch.zeros(3, dtype=torch.int64))
    expected = single.reset(seed=int(episode_seed(9, 1, 1)))[0]
    assert np.array_equal(now.observation[1].numpy(), expected)
    with pytest.raises(ValueError, match="one seed a copy"):
        environment.reset(np.array([1, 2]))


@pytest.mark.parametrize("name", ["CartPole-v1", "tictactoe"])
def test_saved_state_must_fit_the_number_of_copies(name):
    game = registry.make(name)
    environment = game.environment(2, 0)
    environment.reset()
    with pytest.raises(ValueError, match="the saved state has 2 copies, this environment 3"):
        game.environment(3, 0).load_state_dict(environment.state_dict())


def test_pettingzoo_boards_show_mine_then_theirs_as_the_native_ones_do():
    game, native = installed_game("pettingzoo/connect_four_v3"), registry.make("connect_four")
    assert game.spec.action_keys == native.spec.action_keys
    wrapped, batched = game.environment(8, 0), native.environment(8, 0)
    left, right = wrapped.reset(), batched.reset()
    random = np.random.default_rng(0)
    for _ in range(60):
        for field in left._fields:
            assert torch.equal(getattr(left, field), getattr(right, field)), field
        action = torch.tensor([random.choice(np.flatnonzero(row)) for row in left.legal.numpy()])
        left, right = wrapped.step(action), batched.step(action)


def test_gymnasium_observations_of_other_kinds(tmp_path):
    file = tmp_path / "spaces.py"
    file.write_text(
        "import gymnasium, numpy as np\n"
        "from gymnasium import spaces\n"
        "class Odd(gymnasium.Env):\n"
        "    action_space = spaces.Discrete(2, start=5)\n"
        "    def __init__(self, space): self.observation_space = space\n"
        "    def reset(self, seed=None, options=None):\n"
        "        super().reset(seed=seed)\n"
        "        self.observation_space.seed(seed)\n"
        "        return self.observation_space.sample(), {'action_mask': np.array([1, 0])}\n"
        "    def step(self, action):\n"
        "        assert action in (5, 6)\n"
        "        return self.observation_space.sample(), 1.0, False, action == 6, {'action_mask': np.array([1, 1])}\n"
        "def image(): return Odd(spaces.Box(0, 255, (9, 8, 3), np.uint8))\n"
        "def both(): return Odd(spaces.Dict(a=spaces.Discrete(3), b=spaces.Box(-1, 1, (2,))))\n"
        "def free():\n"
        "    env = Odd(spaces.Discrete(3))\n"
        "    env.action_space = spaces.MultiBinary(2)\n"
        "    return env\n"
    )
    image = registry.make(f"{file}:image")
    assert image.spec.observation.kind is ObservationKind.PIXELS
    assert image.spec.observation.shape == (3, 9, 8)
    both = registry.make(f"{file}:both")
    assert both.spec.observation.shape == (5,)
    first = both.environment(1, 0).reset()
    assert first.observation[0, :3].sum() == 1
    assert first.legal.tolist() == [[True, False]]
    for game in (image, both):
        assert check(game, num_copies=2, num_moves=30).findings() == []
    with pytest.raises(ValueError, match="Discrete actions and a bounded Box of real numbers can be played"):
        registry.make(f"{file}:free")
