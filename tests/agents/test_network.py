"""The network: growth changes no old output by one bit; seats, shared moves and errors."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import grid, observations, pixels, shaken, tiny_config, vector

from agents.network import ACTION_BLOCK, MultiGameNetwork, to_absolute, to_relative
from envs.game import ObservationSpec

SEQUENCES = {
    "kinds": [
        grid("three", 2, 3, 3),
        vector("poles", 4, 2),
        pixels("screen", 3, 84, 6),
        vector("trio", 5, 3, num_players=3),
        grid("drop", 2, 6, 7, num_actions=7, action_keys=tuple(f"column {c}" for c in range(7))),
        grid("plain", 4, 10, 10, board=False, num_players=1, zero_sum=False, num_actions=6, action_keys=None),
    ],
    "sizes": [
        vector("one", 3, 2),
        vector("pair", 3, 5, num_players=2),  # two players without a zero sum: another value head
        grid("small", 3, 3, 4),
        grid("go", 2, 9, 9),  # 81 places: more keys than one block of actions holds
        vector("wide", 2, 2 * ACTION_BLOCK + 3),  # more than a block at once
        pixels("tiny screen", 1, 40, 3),
        vector("four", 2, 2, num_players=4),
    ],
}


def outputs(network, spec, batch):
    """Everything that the network says of a game: latents, next latents, logits, and values in the game's units."""
    generator = torch.Generator().manual_seed(len(spec.name) + batch)
    observation = observations(spec, batch, generator)
    game = torch.full((batch,), network.games[spec.name])
    action = torch.randint(spec.num_actions, (batch,), generator=generator)
    to_play = torch.randint(spec.num_players, (batch,), generator=generator)
    latent = network.represent(spec.name, observation)
    following = network.transition(latent, game, action)
    found = [latent, following]
    for where in (latent, following):
        heads = network.heads(where, game)
        found += [
            heads.policy[:, : spec.num_actions],
            heads.value[:, : 1 if spec.zero_sum else spec.num_players],
            heads.reward[:, : 1 if spec.zero_sum else spec.num_players],
            heads.continuation,
            network.decode_seats(heads.value, game, to_play, spec.num_players),
            network.decode_seats(heads.reward, game, to_play, spec.num_players),
        ]
        if spec.num_players > 1:
            found.append(heads.next_mover[:, : spec.num_players])
    return found


@pytest.mark.parametrize("shared", [True, False], ids=["shared", "own"])
@pytest.mark.parametrize("trunk", ["mlp", "resnet"])
@pytest.mark.parametrize("sequence", SEQUENCES)
@torch.no_grad()
def test_adding_a_game_changes_no_old_output_by_one_bit(sequence, trunk, shared):
    network = MultiGameNetwork(tiny_config(trunk, shared_encoders=shared, encoder_blocks=1))
    before = {}
    for spec in SEQUENCES[sequence]:
        network.add_game(spec)
        for (old, batch), expected in before.items():
            for mine, theirs in zip(outputs(network, old, batch), expected, strict=True):
                assert torch.equal(mine, theirs), f"{spec.name} changed {old.name} in batches of {batch}"
        # New parameters are shaken too: zeros of a fresh head must not be what keeps old outputs the same.
        with torch.no_grad():
            generator = torch.Generator().manual_seed(7)
            for parameter in network.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
        before = {(old, batch): outputs(network, old, batch) for old in network.specs for batch in (1, 3, 17, 64)}


@torch.no_grad()
def test_a_game_begins_the_same_whatever_the_random_state_and_whoever_came_before():
    first, second = vector("one", 3, 2), grid("three", 2, 3, 3)
    torch.manual_seed(1)
    one = MultiGameNetwork(tiny_config(), [first, second], seed=4)
    torch.manual_seed(2)
    torch.rand(5)
    same = MultiGameNetwork(tiny_config(), [first, second], seed=4)
    for mine, theirs in zip(one.state_dict().values(), same.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs)
    alone = MultiGameNetwork(tiny_config(), [second], seed=4)
    assert torch.equal(outputs(alone, second, 5)[0], outputs(one, second, 5)[0])  # represented alike
    other = MultiGameNetwork(tiny_config(), [first, second], seed=5)
    assert not torch.equal(outputs(other, second, 5)[0], outputs(one, second, 5)[0])


@pytest.mark.parametrize("trunk", ["mlp", "resnet"])
@torch.no_grad()
def test_the_grown_network_equals_one_built_at_once(trunk):
    specs = SEQUENCES["kinds"]
    at_once = shaken(MultiGameNetwork(tiny_config(trunk), specs))
    grown = MultiGameNetwork(tiny_config(trunk))
    for spec in specs:
        grown.add_game(spec)
    grown.load_state_dict(at_once.state_dict())
    for spec in specs:
        for mine, theirs in zip(outputs(grown, spec, 6), outputs(at_once, spec, 6), strict=True):
            assert torch.equal(mine, theirs)


@pytest.mark.parametrize("trunk", ["mlp", "resnet"])
@torch.no_grad()
def test_the_move_and_the_game_matter(trunk):
    twins = [grid("three", 2, 3, 3), grid("other", 2, 3, 3)]
    network = shaken(MultiGameNetwork(tiny_config(trunk), twins))
    latent = network.represent("three", torch.zeros(9, 2, 3, 3)).clone()
    moved = network.transition(latent, torch.zeros(9, dtype=torch.int64), torch.arange(9))
    assert len({tuple(row.flatten().tolist()) for row in moved}) == 9
    elsewhere = network.transition(latent, torch.ones(9, dtype=torch.int64), torch.arange(9))
    assert not torch.allclose(moved, elsewhere)


@torch.no_grad()
def test_convolutions_are_told_the_whole_column_of_a_drop():
    drop = grid("drop", 2, 6, 7, num_actions=7, action_keys=tuple(f"column {c}" for c in range(7)))
    network = MultiGameNetwork(tiny_config("resnet", latent_grid=7), [drop])
    for table in network.action_blocks:  # what is left is where the move is marked
        table.fill_(0.3)
    latent = network.represent("drop", torch.zeros(7, 2, 6, 7))
    moved = network.transition(latent, torch.zeros(7, dtype=torch.int64), torch.arange(7)).unflatten(1, (7, 7))
    bottom = (moved - moved[0]).abs().sum(-1)[:, 5]  # [7 moves, 7 columns] of the row where a stone comes to lie
    assert (bottom.diagonal()[3:] > 1e-4).all()  # two layers of filters do not reach it from the top of the column


@torch.no_grad()
def test_actions_that_share_a_key_share_their_embedding_and_their_output():
    small, large = grid("small", 2, 3, 3), grid("large", 2, 4, 5)
    own = vector("own", 3, 2)
    network = shaken(MultiGameNetwork(tiny_config(), [small, large, own]))
    rows = network.tables.action_row
    for row in range(3):
        for column in range(3):
            assert rows[0, row * 3 + column] == rows[1, row * 5 + column]
    assert not set(rows[2, :2].tolist()) & set(rows[:2].flatten()[rows[:2].flatten() > 0].tolist())
    latent = torch.randn(2, 1, 16)
    policy = network.heads(latent[:1].repeat(2, 1, 1), torch.tensor([0, 1])).policy
    assert policy[0, 4] == policy[1, 6]  # the cell in row 1, column 1
    # With encoders of their own nothing is shared.
    apart = MultiGameNetwork(tiny_config(shared_encoders=False), [small, large])
    mine, theirs = apart.tables.action_row[0, :9], apart.tables.action_row[1]
    assert not set(mine.tolist()) & set(theirs.tolist())
    assert len(apart.encoders.by_kind) == 2


@torch.no_grad()
def test_tables_say_what_a_game_has():
    specs = [grid("three", 2, 3, 3, reward_range=(-1.0, 4.0)), vector("trio", 5, 3, num_players=3)]
    tables = MultiGameNetwork(tiny_config(), specs).tables
    assert tables.exists.sum(1).tolist() == [9, 3]
    assert tables.num_players.tolist() == [2, 3]
    assert tables.num_values.tolist() == [1, 3]
    assert tables.zero_sum.tolist() == [True, False]
    assert tables.scale.tolist() == [4.0, 1.0]  # the largest reward; unknown: 1
    assert tables.place[0].tolist() == [r * 256 + c for r in range(3) for c in range(3)]
    assert tables.place[1].eq(-1).all()


def test_errors_name_the_fix():
    with pytest.raises(ValueError, match=r"network.trunk='resent' is not one of mlp, resnet; did you mean resnet\?"):
        MultiGameNetwork(tiny_config("resent"))
    network = MultiGameNetwork(tiny_config(), [vector("one", 3, 2)])
    with pytest.raises(ValueError, match="already plays one; give the game another name"):
        network.add_game(vector("one", 4, 2))
    text = vector(
        "text",
        5,
        2,
    )
    import dataclasses

    text = dataclasses.replace(text, observation=ObservationSpec("smells", (5,), torch.int64))  # pyright: ignore
    with pytest.raises(ValueError, match="text: no encoder reads observations of kind smells"):
        network.add_game(text)
    with pytest.raises(ValueError, match="board_planes needs at least 2 planes, found 1"):
        network.add_game(grid("flat", 1, 3, 3))


def test_a_refused_game_leaves_the_network_as_it_was():
    network = MultiGameNetwork(tiny_config(), [grid("three", 2, 3, 3)])
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(ValueError, match="board_planes"):
        network.add_game(grid("flat", 1, 4, 4))
    after = network.state_dict()
    assert after.keys() == before.keys()
    assert network.games == {"three": 0}
    network.add_game(vector("one", 3, 2))
    outputs(network, network.specs[1], 3)


# -- seats ------------------------------------------------------------------------------------------------------


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 5), st.integers(0, 3), st.integers(0, 2**31))
def test_relative_and_absolute_views_undo_each_other(players, more, seed):
    generator = torch.Generator().manual_seed(seed)
    absolute = torch.randn(7, players, generator=generator)
    to_play = torch.randint(players, (7,), generator=generator)
    relative = to_relative(absolute, to_play, players, players)
    assert torch.equal(relative[:, 0], absolute[torch.arange(7), to_play])  # entry 0 is the mover
    for row in range(7):  # and the next entries sit clockwise
        assert relative[row].tolist() == [absolute[row, (to_play[row] + d) % players] for d in range(players)]
    no = torch.zeros(7, dtype=torch.bool)
    padded = torch.nn.functional.pad(relative, (0, more))
    back = to_absolute(padded, to_play, torch.full((7,), players), no, players + more)
    assert torch.equal(back[:, :players], absolute)
    assert not back[:, players:].any()  # seats that the game lacks


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 4), st.integers(1, 3))
def test_zero_sum_rows_are_opposite_and_seen_by_the_mover(seed, seats, stored):
    generator = torch.Generator().manual_seed(seed)
    numbers, to_play = torch.randn(9, stored, generator=generator), torch.randint(2, (9,), generator=generator)
    yes, two = torch.ones(9, dtype=torch.bool), torch.full((9,), 2)
    found = to_absolute(numbers, to_play, two, yes, seats)
    assert torch.equal(found[:, 0], -found[:, 1])
    assert torch.equal(found[torch.arange(9), to_play], numbers[:, 0])
    assert not found[:, 2:].any()
    assert torch.equal(to_relative(found[:, :2], to_play, 2, 1), numbers[:, :1])


def test_views_keep_leading_dimensions():
    absolute = torch.arange(24.0).view(2, 4, 3)
    to_play = torch.tensor([[0, 1, 2, 0], [2, 2, 1, 0]])
    relative = to_relative(absolute, to_play, 3, 3)
    assert relative[1, 0].tolist() == [14.0, 12.0, 13.0]
    assert to_relative(absolute, to_play, 3, 1).shape == (2, 4, 1)
