"""What the monitor is handed to compare games: ablation, gradients and trial steps against slow ones, twins in
pairs."""

import copy
import dataclasses

import numpy as np
import pytest
import torch

from agents.network import MultiGameNetwork, NetworkConfig
from envs.registry import make
from gurgeh.frozen_losses import head_losses, heads_apart, targets_of
from gurgeh.measure import measure
from gurgeh.sharing import SharingReader
from gurgeh.validation import build_frozen_set, load_frozen_set, save_frozen_set
from monitor.pairs import OTHER, SCRAMBLED, TWIN
from monitor.refusals import UndefinedError

NAMES = ["tictactoe", "CartPole-v1", "twin:1:tictactoe", "scrambled:1:tictactoe", "twin:2:tictactoe"]
CONFIG = dict(width=16, hidden=24, channels=4, value_bins=21, value_limit=3.0)


def network(trunk="mlp", names=NAMES):
    made = MultiGameNetwork(NetworkConfig(trunk=trunk, latent_grid=3, **CONFIG), [make(name).spec for name in names], 3)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return made.requires_grad_(False)


@pytest.fixture(scope="module")
def sets():
    return {name: build_frozen_set(make(name), 120, 2, 0) for name in NAMES}


def total(real, frozen, size):
    """A position's loss, the slow way: all heads at the position and after one move."""
    rows, spec = frozen.first(size), make(frozen.game).spec
    with torch.no_grad():
        latent = real.represent(rows.game, rows.observation)
        said = heads_apart(real, spec, rows.action[:, :1], latent)  # every k a call of the layers
    losses = head_losses(spec, said, targets_of(real, spec, rows, 1))
    stack = np.concatenate([loss.numpy() for loss in losses.values()])
    return np.where(np.isfinite(stack).any(0), np.nansum(stack, 0), np.nan)


@pytest.mark.parametrize("trunk", ["mlp", "resnet"])
@pytest.mark.parametrize("game", ["tictactoe", "CartPole-v1"])
def test_ablated_losses_are_those_of_a_network_with_the_unit_at_its_mean(sets, trunk, game):
    real = network(trunk, NAMES[:2])
    reader = SharingReader(real, sets, 5)
    count = reader.num_units()
    assert count == 24 + (24 if trunk == "mlp" else 16)  # the torso's, and the trunk's
    groups = [[0], [count - 1], [1, 3, count - 2]]
    found = reader.ablated(game, 40, groups, 0, 0)
    np.testing.assert_allclose(found.base, total(real, sets[game], 40), atol=1e-5)
    # Units are numbered through the layers in the order in which they are called.
    layers = [real.trunk.activations[0], real.activation]
    means: dict = {layer: [] for layer in layers}  # of each call
    handles = [
        layer.register_forward_hook(lambda m, _, o: means[m].append(o.transpose(0, 1).flatten(1).mean(1)))
        for layer in layers
    ]
    total(real, sets[game], 40)
    for handle in handles:
        handle.remove()
    for row, group in zip(found.losses, groups):
        calls = dict.fromkeys(layers, 0)

        def hook(module, _inputs, output, group=group, calls=calls):
            first, changed = 0 if module is layers[0] else count - 24, output.clone()
            for unit in group:
                if first <= unit < first + output.shape[1]:
                    changed[:, unit - first] = means[module][calls[module]][unit - first]
            calls[module] += 1
            return changed

        handles = [layer.register_forward_hook(hook) for layer in layers]
        np.testing.assert_allclose(row, total(real, sets[game], 40), atol=1e-5)
        for handle in handles:
            handle.remove()
    assert not np.allclose(found.losses[2], found.base)


def test_many_groups_in_several_passes_are_the_same(sets, monkeypatch):
    reader = SharingReader(network(), sets, 5)
    groups = [[unit] for unit in range(0, 40, 3)]
    whole = reader.ablated("tictactoe", 32, groups, 2, 7)
    monkeypatch.setattr("gurgeh.sharing.MOST_ROWS", 32 * 4)
    parts = reader.ablated("tictactoe", 32, groups, 2, 7)
    for field in ("base", "losses", "shuffled_base", "shuffled", "variance"):
        np.testing.assert_allclose(getattr(whole, field), getattr(parts, field), atol=1e-5)
    assert whole.shuffled.shape == (2, len(groups), 32)
    assert (whole.variance >= 0).all()


def test_gradients_are_those_of_the_losses_and_add_up(sets):
    real = network()
    reader = SharingReader(real, sets, 5)
    found, _ = reader.lookahead("tictactoe", ["CartPole-v1"], 40, 4, 2, 0)
    behind = [(name, p.numel()) for name, p in real.named_parameters() if not name.startswith("encoders.")]
    assert found.blocks.shape == (4, sum(size for _, size in behind))  # all of so few
    assert found.shuffled.shape[0] == 2
    # One coordinate by finite differences, in a copy with double precision.
    slow = copy.deepcopy(real)
    names, sizes = [name for name, _ in behind], [size for _, size in behind]
    place = names.index("torso.weight")
    first = sum(sizes[:place])
    best = int(np.abs(found.blocks.mean(0)[first : first + sizes[place]]).argmax())
    losses = []
    for shift in (-1e-2, 1e-2):
        with torch.no_grad():
            dict(slow.named_parameters())["torso.weight"].view(-1)[best] += shift
            losses.append(np.nanmean(total(slow, sets["tictactoe"], 40)))
            dict(slow.named_parameters())["torso.weight"].view(-1)[best] -= shift
    assert found.blocks.mean(0)[first + best] == pytest.approx((losses[1] - losses[0]) / 2e-2, rel=0.02)


def test_a_trial_step_takes_away_one_percent_to_first_order_and_is_undone(sets):
    real = network()
    reader = SharingReader(real, sets, 5)
    _, found = reader.lookahead("tictactoe", ["tictactoe", "CartPole-v1"], 40, 4, 2, 0)
    own = found["tictactoe"]
    np.testing.assert_allclose(own.before, total(real, sets["tictactoe"], 40), atol=1e-5)
    assert 1 - np.nanmean(own.after) / np.nanmean(own.before) == pytest.approx(0.01, rel=0.15)
    assert found["CartPole-v1"].shuffled.shape == (2, 40)
    again = reader.lookahead("tictactoe", ["tictactoe"], 40, 4, 2, 0)[1]["tictactoe"]
    np.testing.assert_array_equal(again.before, own.before)
    np.testing.assert_array_equal(again.after, own.after)


def test_losses_with_shuffled_targets_are_other_rows_targets(sets):
    """A game whose targets are all equal does not notice; another does."""
    reader = SharingReader(network(), sets, 5)
    shuffled = reader.ablated("tictactoe", 40, [[0]], 3, 1)
    assert not np.allclose(shuffled.shuffled_base[0], shuffled.base)
    one = dataclasses.replace(
        sets["tictactoe"], **{
            name: getattr(sets["tictactoe"], name)[:1].expand(40, *getattr(sets["tictactoe"], name).shape[1:])
            for name in ("legal", "to_play", "reward", "continues", "valid", "policy_mask", "value", "phase", "plies")
        }, observation=sets["tictactoe"].observation[:40], action=sets["tictactoe"].action[:40],
    )  # fmt: skip
    reader = SharingReader(network(), {"tictactoe": one}, 5)
    found = reader.ablated("tictactoe", 40, [[0]], 1, 1)
    np.testing.assert_allclose(np.sort(found.shuffled_base[0]), np.sort(found.base), atol=1e-5)


def test_a_twin_shows_the_same_positions(sets):
    """By playing: the twin's environment shows what `paired` feeds the network."""
    reader = SharingReader(network(), sets, 5)
    rules, twin = make("tictactoe").native, make("twin:1:tictactoe").native
    seeds = torch.arange(4)
    state, other = rules.initial(seeds), twin.initial(seeds)
    move = torch.tensor([0, 4, 8, 2])
    state, other = rules.play(state, move).state, twin.play(other, twin.relabel[move]).state
    frozen = dataclasses.replace(sets["tictactoe"].first(4), observation=rules.observe(state))
    shown = dataclasses.replace(sets["twin:1:tictactoe"].first(4), observation=twin.observe(other))
    reader.sets = sets | {"tictactoe": frozen, "twin:1:tictactoe": shown}
    expected = reader.network.represent("twin:1:tictactoe", twin.observe(other)).flatten(1).numpy()
    np.testing.assert_array_equal(reader.paired("tictactoe", "twin:1:tictactoe", 4, None), expected)
    own = reader.network.represent("tictactoe", rules.observe(state)).flatten(1).numpy()
    np.testing.assert_array_equal(reader.paired("twin:1:tictactoe", "tictactoe", 4, None), own)
    assert reader.paired("tictactoe", "CartPole-v1", 4, None) is None


def test_how_games_are_related(sets):
    reader = SharingReader(network(), sets, 5)
    assert reader.relation("tictactoe", "twin:1:tictactoe") == TWIN
    assert reader.relation("twin:2:tictactoe", "twin:1:tictactoe") == TWIN
    assert reader.relation("scrambled:1:tictactoe", "tictactoe") == SCRAMBLED
    assert reader.relation("twin:1:tictactoe", "scrambled:1:tictactoe") == SCRAMBLED
    assert reader.relation("CartPole-v1", "tictactoe") == OTHER


def test_inputs_are_the_same_where_nothing_of_the_first_layer_is_the_games_own():
    names = ("tictactoe", "twin:1:tictactoe", "scrambled:1:tictactoe", "hex:3", "connect_four", "CartPole-v1")
    reader = SharingReader(network(names=names), {}, 5)
    assert reader.same_inputs("tictactoe", "scrambled:1:tictactoe")
    assert not reader.same_inputs("tictactoe", "twin:1:tictactoe"), "a twin's planes are its own"
    assert not reader.same_inputs("CartPole-v1", "tictactoe")
    assert not reader.same_inputs("hex:3", "hex:3"), "its third plane is its own"
    assert not reader.same_inputs("tictactoe", "connect_four"), "another size"
    apart = MultiGameNetwork(NetworkConfig(**{**CONFIG, "shared_encoders": False}), reader.network.specs, 3)
    assert not SharingReader(apart, {}, 5).same_inputs("tictactoe", "scrambled:1:tictactoe")


def test_the_untrained_network_is_the_one_before_the_first_update(sets):
    specs = [make(name).spec for name in NAMES]
    before = MultiGameNetwork(NetworkConfig(**CONFIG), specs, 3)
    expected = before.represent("tictactoe", sets["tictactoe"].observation[:30]).detach().flatten(1).numpy()
    trained = network()
    reader = SharingReader(trained, sets, 5)
    np.testing.assert_array_equal(reader.untrained("tictactoe", 30, 0), expected)
    assert not np.allclose(reader.untrained("tictactoe", 30, 1), expected)
    vectors = trained.encoders.by_kind["vector"]
    vectors.calibrate_(trained.games["CartPole-v1"], torch.randn(50, 4) * 3 + 1)
    made = SharingReader(trained, sets, 5).untrained_network(0).encoders.by_kind["vector"]
    assert torch.equal(made.get_buffer("spread_1"), vectors.get_buffer("spread_1"))


def test_labels_are_what_the_frozen_set_knows(sets):
    reader = SharingReader(network(), sets, 5)
    labels = reader.labels("tictactoe", 50)
    assert set(labels) == {"value", "legal_moves", "moves_to_end"}
    stones = sets["tictactoe"].observation[:50, :2].float().sum((1, 2, 3)).numpy()
    np.testing.assert_array_equal(labels["legal_moves"], 9 - stones)
    assert (labels["moves_to_end"] <= 9 - stones).all()
    assert (labels["moves_to_end"] >= 1).all()
    one_left = labels["legal_moves"] == 1
    assert (labels["moves_to_end"][one_left] == 1).all()
    assert set(np.unique(labels["value"])) <= {-1.0, 0.0, 1.0}
    assert set(reader.labels("CartPole-v1", 50)) == {"legal_moves", "moves_to_end"}


def test_moves_to_the_end_of_random_episodes_fall_by_one_a_move(sets):
    """CartPole: a position whose episode is over after k more moves has k on its label."""
    frozen = sets["CartPole-v1"]
    for row in range(len(frozen)):
        ended = (~frozen.continues[row] & frozen.valid[row]).nonzero().flatten()
        if len(ended):
            assert frozen.plies[row] == ended[0] + 1


def test_sets_of_before_have_no_moves_to_the_end_and_keep_their_hash(sets, tmp_path):
    old = dataclasses.replace(sets["CartPole-v1"], plies=None, hash="")
    path = save_frozen_set(old, tmp_path)
    loaded = load_frozen_set(path)
    assert loaded.plies is None
    assert loaded.hash == old.hash != sets["CartPole-v1"].hash
    assert "moves_to_end" not in SharingReader(network(), {"CartPole-v1": loaded}, 5).labels("CartPole-v1", 20)


def test_without_a_model_and_targets_there_is_no_loss(sets):
    reader = SharingReader(network(), sets, 0)
    with pytest.raises(UndefinedError, match=r"no loss of CartPole-v1 is defined.*learner.unroll=0"):
        reader.ablated("CartPole-v1", 32, [[0]], 1, 0)
    found = reader.ablated("tictactoe", 32, [[0]], 1, 0)
    assert np.isfinite(found.base).all()


def test_measuring_leaves_no_trace(sets):
    real = network()
    real.train()
    weights, modes = copy.deepcopy(real.state_dict()), [module.training for module in real.modules()]
    torch.manual_seed(5)
    state = torch.get_rng_state()
    told = measure(real, sets, 5).sharing
    told.ablated("tictactoe", 32, [[0], [1]], 2, 0)
    told.lookahead("tictactoe", ["CartPole-v1"], 32, 4, 2, 0)
    told.untrained("CartPole-v1", 32, 1)
    told.paired("tictactoe", "twin:1:tictactoe", 32, None)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, weights[name]) for name, value in real.state_dict().items())
    assert [module.training for module in real.modules()] == modes
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in real.parameters())
    assert not any(module._forward_hooks for module in real.modules())
