"""Symmetries as augmentation: a turned sample is what playing the turned moves would have stored."""

import pytest
import torch
from tiny import toy

from agents.learner import Sample, apply_symmetries


def position(rules, moves):
    """Rules' state after `moves` [N, T] and the observation there."""
    state = rules.initial(torch.zeros(len(moves), dtype=torch.int64))
    for time in range(moves.shape[1]):
        state = rules.play(state, moves[:, time]).state
    return state, rules.observe(state)


def random_games(rules, rows, length, generator):
    """[N, length] legal moves of games that do not end."""
    found = []
    while len(found) < rows:
        state, moves, over = rules.initial(torch.zeros(1, dtype=torch.int64)), [], False
        for _ in range(length):
            action = torch.multinomial(rules.legal(state).float(), 1, generator=generator)[:, 0]
            played = rules.play(state, action)
            state, over = played.state, over or bool(played.terminated)
            moves.append(int(action))
        if not over:
            found.append(moves)
    return torch.tensor(found)


@pytest.mark.parametrize(
    ("name", "before", "unrolled"), [("tictactoe", 2, 2), ("tictactoe", 3, 1), ("connect_four", 5, 3)]
)
def test_a_turned_sample_is_the_game_with_turned_moves(name, before, unrolled):
    rules, spec = toy(name).native, toy(name).spec
    generator = torch.Generator().manual_seed(4)
    rows = 96
    moves = random_games(rules, rows, before + unrolled, generator)
    _, observation = position(rules, moves[:, :before])
    following = torch.stack([position(rules, moves[:, : before + k + 1])[1] for k in range(unrolled)], 1)
    policy = torch.rand(rows, unrolled + 1, spec.num_actions, generator=generator)
    nothing = torch.zeros(rows, unrolled + 1)
    sample = Sample(
        spec=spec, observation=observation, next_observation=following, action=moves[:, before:], policy=policy,
        policy_known=nothing > 1, value=nothing[..., None], alive=nothing > -1, reward=nothing[:, 1:, None],
        continues=nothing[:, 1:] > -1, moved=nothing[:, 1:] > -1, next_mover=nothing[:, 1:].long(),
        weight=nothing[:, 0],
    )  # fmt: skip
    turned = apply_symmetries(sample, spec.symmetries, torch.Generator().manual_seed(8))
    actions = torch.tensor(spec.symmetries.actions)
    chosen = set()
    for row in range(rows):
        fits = []
        for number, names in enumerate(actions):
            mapped = names[moves[row]][None]
            same = torch.equal(position(rules, mapped[:, :before])[1][0], turned.observation[row])
            same &= torch.equal(mapped[0, before:], turned.action[row])
            same &= torch.equal(turned.policy[row][:, names], policy[row])  # the move called a is called names[a] now
            same &= all(
                torch.equal(position(rules, mapped[:, : before + k + 1])[1][0], turned.next_observation[row, k])
                for k in range(unrolled)
            )
            if same:
                fits.append(number)
        assert fits, f"row {row} is no symmetric game"
        chosen.update(fits if len(fits) == 1 else [])
    assert chosen == set(range(len(actions)))  # each symmetry is used
    for name in ("value", "alive", "reward", "continues", "moved", "next_mover", "weight", "policy_known"):
        assert torch.equal(getattr(turned, name), getattr(sample, name))


@pytest.mark.parametrize("name", ["tictactoe", "connect_four"])
def test_the_first_symmetry_changes_nothing_and_ends_stay_ends(name):
    rules, spec = toy(name).native, toy(name).spec
    assert list(spec.symmetries.actions[0]) == list(range(spec.num_actions))
    generator = torch.Generator().manual_seed(0)
    for names in torch.tensor(spec.symmetries.actions):
        state = rules.initial(torch.zeros(64, dtype=torch.int64))
        other, alive = state, torch.ones(64, dtype=torch.bool)
        for _ in range(spec.num_actions):
            assert torch.equal(rules.legal(state)[alive], rules.legal(other)[alive][:, names])
            action = torch.multinomial(rules.legal(state).float(), 1, generator=generator)[:, 0]
            mine, theirs = rules.play(state, action), rules.play(other, names[action])
            assert torch.equal(mine.reward[alive], theirs.reward[alive])
            assert torch.equal(mine.terminated[alive], theirs.terminated[alive])
            state, other, alive = mine.state, theirs.state, alive & ~mine.terminated
