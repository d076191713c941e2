"""From a run on disk to a player."""

import shutil

import pytest
import torch

from envs.registry import make
from gurgeh import cli
from gurgeh.load import LoadedRun, load_player
from gurgeh.rundir import RunDirectory

SMALL = [
    "threads=1", "network.width=16", "network.hidden=32", "network.value_bins=21", "learner.batch=16",
    "learner.start_steps=100", "learner.n_step=3", "selfplay.copies=8", "selfplay.wrapped_copies=8",
    "search.simulations=2",
    "logging.evaluate_every_updates=0", "logging.tensorboard=false", "monitor.enabled=false",
]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    arguments = ["--games", "tictactoe,CartPole-v1", *SMALL, "schedule.updates=12", "checkpoint.every_updates=4"]
    assert cli.main(["train", "--runs", str(runs), "--name", "r", "--no-evaluation", *arguments]) == 0
    return runs / "r"


def test_the_averaged_weights_and_the_scales_are_what_was_saved(run):
    loaded = LoadedRun(run)
    _, saved = RunDirectory.open(run).load_checkpoint()
    assert loaded.step == 12
    for name, value in loaded.network.state_dict().items():
        assert torch.equal(value, saved["learner"]["averaged"][name]), name
    assert list(loaded.games) == ["tictactoe", "CartPole-v1"]
    for name in loaded.games:
        assert loaded.player(name, 4).value_scale == loaded.scales[name]
        square, weight = saved["scales"]["square"][name], saved["scales"]["weight"][name]
        noise = loaded.search.noise_weight * saved["scales"]["error"][name]
        assert noise > 0
        assert loaded.scales[name] == pytest.approx((square / weight + noise**2) ** 0.5)


def test_checkpoints_are_told_apart(run):
    steps = [int(path.name.partition("-")[2]) for path in RunDirectory.open(run).checkpoints()]
    assert len(steps) >= 2
    older, newest = LoadedRun(run, steps[0]), LoadedRun(run)
    assert older.step == steps[0] < newest.step
    pairs = zip(older.network.parameters(), newest.network.parameters(), strict=True)
    assert any(not torch.equal(one, other) for one, other in pairs)
    with pytest.raises(FileNotFoundError, match="has no checkpoint of step 7"):
        LoadedRun(run, 7)


@pytest.mark.parametrize("simulations", [0, 3])
@pytest.mark.parametrize("greedy", [True, False])
def test_a_player_plays_legal_moves_the_same_for_the_same_seeds(run, simulations, greedy):
    game = make("tictactoe")
    step = game.environment(6, 0).reset()
    players = [load_player(run, game, simulations, greedy) for _ in range(2)]
    assert players[0].name == "r@12"
    environment = game.environment(6, 0)
    step = environment.reset()
    for move in range(5):
        seeds = torch.arange(6) + 100 * move
        one, other = (player.act(step.observation, step.legal, step.to_play, seeds) for player in players)
        assert torch.equal(one.action, other.action)
        assert step.legal.gather(1, one.action[:, None]).all()
        assert one.value.shape == (6, 2)
        assert torch.allclose(one.value.sum(1), torch.zeros(6), atol=1e-5)
        assert torch.allclose(one.prior.sum(1), torch.ones(6), atol=1e-5)
        step = environment.step(one.action)


def test_an_unknown_game_is_refused_by_name(run):
    with pytest.raises(ValueError, match="does not play connect_four; it plays tictactoe, CartPole-v1"):
        load_player(run, make("connect_four"), 2)


def test_a_config_that_does_not_fit_is_said(run, tmp_path):
    shutil.copytree(run, tmp_path / "r")
    path = tmp_path / "r" / "config.yaml"
    path.write_text(path.read_text().replace("width: 16", "width: 24"))
    with pytest.raises(ValueError, match=r"does not fit the network of its config.yaml"):
        LoadedRun(tmp_path / "r")


def test_a_run_that_is_none_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist; give the folder of a run"):
        LoadedRun(tmp_path / "nothing")


def test_reading_writes_nothing(run):
    before = sorted((path, path.stat().st_mtime_ns) for path in run.rglob("*") if path.is_file())
    LoadedRun(run).player("tictactoe", 2)
    assert sorted((path, path.stat().st_mtime_ns) for path in run.rglob("*") if path.is_file()) == before
