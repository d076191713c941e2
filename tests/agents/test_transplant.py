"""First weights from other games: the same as growing the other network, bit by bit; what is not shared stays."""

import dataclasses

import pytest
import torch

from agents.network import MultiGameNetwork, NetworkConfig
from agents.transplant import transplant_, undefined_zero_shot
from envs import registry
from envs.game import ObservationKind, ObservationSpec

SMALL = NetworkConfig(width=16, hidden=32, value_bins=21, channels=4)
TRAINED = ("tictactoe", "mnk:4x4x3", "CartPole-v1", "pig:3", "cottage")


def spec(name):
    return registry.make(name).spec


def trained(config=SMALL, names=TRAINED, seed=1):
    """A network whose every weight was moved away from where it began."""
    network = MultiGameNetwork(config, [spec(name) for name in names], seed)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for weights in network.parameters():
            weights += 0.1 * torch.randn(weights.shape, generator=generator)
    return network


def said(network, game, observation):
    """All outputs for one game, of a position and after a move."""
    with torch.no_grad():
        latent = network.represent(game, observation)
        index = torch.full((len(observation),), network.games[game])
        after = network.transition(latent, index, torch.zeros(len(observation), dtype=torch.int64))
        count = network.specs[network.games[game]].num_actions
        heads = [network.heads(each, index) for each in (latent, after)]
    return [part for each in heads for part in (each.policy[:, :count], each.value[:, :1], each.reward[:, :1],
                                                each.continuation, each.next_mover[:, :2])]  # fmt: skip


def observations(name, count=7):
    found = spec(name).observation
    generator = torch.Generator().manual_seed(3)
    return torch.randint(0, 2, (count, *found.shape), generator=generator).to(found.dtype)


@pytest.mark.parametrize("trunk", ["mlp", "resnet"])
@pytest.mark.parametrize("name", ["mnk:3x4x3", "mnk:4x4x4:misere"])
def test_a_game_that_shares_everything_is_played_as_by_the_grown_network(name, trunk):
    config = NetworkConfig(**{**vars(SMALL), "trunk": trunk})
    source = trained(config)
    target = MultiGameNetwork(config, [spec(name)], seed=9)
    before = said(target, spec(name).name, observations(name))
    transplant_(target, source)
    mean = torch.stack(list(source.game_embedding)).mean(0)
    source.add_game(spec(name))
    with torch.no_grad():
        source.game_embedding[-1].copy_(mean)
    now, grown = (said(network, spec(name).name, observations(name)) for network in (target, source))
    for mine, theirs in zip(now, grown, strict=True):
        assert torch.equal(mine, theirs)
    assert not torch.equal(before[0], now[0])


def test_what_belongs_to_a_game_begins_as_always():
    source = trained()
    for name, own in (
        ("mnk:4x4x3:blocked=2@1", "encoders.by_kind.grid.own_weight.0"),
        ("MountainCar-v0", "encoders.by_kind.vector.first.0.weight"),
    ):
        target = MultiGameNetwork(SMALL, [spec(name)], seed=9)
        before = {key: value.clone() for key, value in target.state_dict().items()}
        transplant_(target, source)
        now = target.state_dict()
        assert torch.equal(now[own], before[own])
        assert torch.equal(now["trunk.inward.0.weight"], source.trunk.inward[0].weight)
        assert torch.equal(now["core.weight"][64:], source.core.weight[64:])
        for key in target.action_index:
            row = target.action_index[key]
            other = source.action_index.get(key)
            theirs = before["core.weight"][row] if other is None else source.core.weight[other]
            assert torch.equal(now["core.weight"][row], theirs), key
            theirs = before["action_blocks.0"][row] if other is None else source.action_blocks[0][other]
            assert torch.equal(now["action_blocks.0"][row], theirs), key


def test_actions_behind_the_first_block_are_found():
    """Keys of the source lie in another block than those of the target."""
    source = trained(names=("connect_four", "othello:8", "mnk:3x3x3"))  # 7 columns and 65 moves fill the first block
    assert max(source.action_index.values()) >= 64
    target = MultiGameNetwork(SMALL, [spec("mnk:8x8x4")], seed=2)
    transplant_(target, source)
    key = "cell 7 7"
    row = source.action_index[key] - 64
    assert row >= 0
    mine = target.action_index[key]
    assert torch.equal(target.core.weight[mine], source.policy_blocks[0].weight[row])
    assert torch.equal(target.core.bias[mine], source.policy_blocks[0].bias[row])
    assert torch.equal(target.action_blocks[0][mine], source.action_blocks[1][row])


def test_private_encoders_give_trunk_and_heads_only():
    config = NetworkConfig(**{**vars(SMALL), "shared_encoders": False})
    source = trained(config, ("tictactoe",))
    target = MultiGameNetwork(config, [spec("mnk:3x3x3:misere")], seed=9)
    before = {key: value.clone() for key, value in target.state_dict().items()}
    transplant_(target, source)
    changed = {key for key, value in target.state_dict().items() if not torch.equal(value, before[key])}
    assert not any(key.startswith(("encoders", "action_blocks")) for key in changed)
    assert {"trunk.inward.0.weight", "torso.weight", "core.weight", "game_embedding.0"} <= changed
    assert torch.equal(target.core.weight[:64], before["core.weight"][:64])
    assert "of its own" in undefined_zero_shot(source, spec("mnk:3x3x3:misere"))


def test_another_kind_of_network_is_refused():
    target = MultiGameNetwork(NetworkConfig(**{**vars(SMALL), "width": 24}), [spec("tictactoe")])
    with pytest.raises(ValueError, match=r"network\.width=16 and not 24"):
        transplant_(target, trained())
    with pytest.raises(ValueError, match="has learnt a game"):
        transplant_(MultiGameNetwork(SMALL, [spec("tictactoe")]), MultiGameNetwork(SMALL))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("mnk:3x4x3", None),
        ("hex:3", "planes are its own"),
        ("mnk:3x3x3:gravity", "actions were never trained"),
        ("mnk:5x3x3", "3 of its 15 cells lie outside every board"),
        ("CartPole-v1", "first layer is its own"),
        ("mnk3:3x3x3", "planes are its own"),
        ("cottage", None),
    ],
)
def test_when_zero_shot_is_defined(name, reason):
    found = undefined_zero_shot(trained(), spec(name))
    assert (found is None) if reason is None else (reason in found)


def test_zero_shot_needs_a_game_of_its_kind():
    assert "kind (vector)" in undefined_zero_shot(trained(names=("tictactoe",)), spec("CartPole-v1"))


def test_a_screen_has_trained_no_cell_of_a_board():
    screen = dataclasses.replace(
        spec("tictactoe"), name="screen", observation=ObservationSpec(ObservationKind.PIXELS, (3, 84, 84)),
        board_planes=False, symmetries=None,
    )  # fmt: skip
    source = MultiGameNetwork(SMALL, [spec("tictactoe"), screen])
    assert "7 of its 16 cells lie outside every board" in undefined_zero_shot(source, spec("mnk:4x4x3"))


def test_the_encoder_of_commands_is_shared_unless_games_have_encoders_of_their_own():
    private = NetworkConfig(**{**vars(SMALL), "shared_encoders": False})
    assert "commands that vary" in undefined_zero_shot(trained(), spec("errand"))
    for config, taken in ((SMALL, True), (private, False)):
        source = trained(config, ("errand",))
        assert (undefined_zero_shot(source, spec("errand")) is None) == taken
        target = MultiGameNetwork(config, [spec("errand")], seed=9)
        before = {key: value.clone() for key, value in target.state_dict().items()}
        transplant_(target, source)
        (slot,) = target.command_encoders
        for part in ("key.weight", "words.weight", "embedding"):
            name = f"command_encoders.{slot}.{part}"
            there = source.state_dict()[name] if taken else before[name]
            assert torch.equal(target.state_dict()[name], there), name
        assert torch.equal(target.query[0].weight, source.query[0].weight)
