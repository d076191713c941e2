"""Encoders without autograd against the encoders themselves."""

import numpy as np
import pytest
import torch
from tiny import grid, observations, shaken, tiny_config, toy, vector

from agents.fused_encoders import Encoding, Shown
from agents.network import MultiGameNetwork

ROWS = 9


def shown_rows(spec, generator, turned=False):
    """Some rows of a ring of observations, with repetitions."""
    ring = observations(spec, 30, generator)
    index = torch.randint(30, (ROWS,), generator=generator).numpy()
    if not turned:
        return Shown(spec.name, ring, index)
    cells = np.array(spec.symmetries.cells)
    return Shown(spec.name, ring, index, cells, torch.randint(len(cells), (ROWS,), generator=generator).numpy())


def dense(name, planes, height, width):
    """A grid of real numbers."""
    spec = grid(name, planes, height, width, board=False)
    shape = type(spec.observation)(spec.observation.kind, spec.observation.shape, torch.float32)
    return type(spec)(**{f: getattr(spec, f) for f in spec.__dataclass_fields__} | {"observation": shape})


CASES = {
    "square": [grid("a", 2, 4, 4)],
    "own planes": [grid("a", 5, 3, 3)],
    "no board planes": [grid("a", 4, 5, 5, board=False)],
    "wide": [grid("a", 2, 2, 6)],
    "tall": [grid("a", 3, 7, 1)],
    "real numbers": [dense("a", 3, 4, 3)],
    "vector": [vector("v", 7, 3)],
    "several": [
        grid("a", 2, 6, 7),
        vector("v", 7, 3),
        grid("b", 3, 3, 3),
        vector("w", 2, 3),
        grid("c", 4, 5, 5, False),
    ],
}


def compare(network, parts):
    """Latents and all gradients of both ways."""
    weights = torch.randn(len(parts) * ROWS, network.width, generator=torch.Generator().manual_seed(5))
    expected = torch.cat([network.represent(shown.game, shown.observation())[:, 0] for shown in parts])
    expected.backward(weights)
    wanted = {name: None if p.grad is None else p.grad.clone() for name, p in network.named_parameters()}
    network.zero_grad(set_to_none=True)
    gradients = {}
    specs = [network.specs[network.games[shown.game]] for shown in parts]
    encoding = Encoding(network, specs, ROWS, gradients)
    for again in range(2):  # the second time in used memory
        network.zero_grad(set_to_none=True)
        torch.testing.assert_close(encoding.run(parts), expected.detach(), rtol=1e-4, atol=1e-5)
        encoding.back_(parts, weights)
        some = 0
        for name, parameter in network.named_parameters():
            found = gradients.get(parameter, parameter.grad)
            assert (found is None) == (wanted[name] is None), name
            if found is not None:
                torch.testing.assert_close(found, wanted[name], rtol=1e-3, atol=1e-5, msg=f"{name}, {again}")
                some += bool(found.any())
        assert some >= 2
    # Without gradients, with fewer rows, and not all games.
    fewer = parts[-1]._replace(index=parts[-1].index[:4], pick=None if parts[-1].pick is None else parts[-1].pick[:4])
    last = expected.detach()[-ROWS:][:4]
    torch.testing.assert_close(Encoding(network, specs, ROWS, None).run([fewer]), last, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shared", [True, False], ids=["shared", "apart"])
@pytest.mark.parametrize("case", CASES)
def test_latents_and_gradients_are_autograds(case, shared):
    generator = torch.Generator().manual_seed(1)
    network = shaken(MultiGameNetwork(tiny_config(shared_encoders=shared), CASES[case], seed=2))
    for spec in CASES[case]:
        network.encoders.calibrate_(network.games[spec.name], observations(spec, 50, generator))
    compare(network, [shown_rows(spec, generator) for spec in CASES[case]])


@pytest.mark.parametrize("name", ["tictactoe", "connect_four"])
def test_turned_boards(name):
    spec, generator = toy(name).spec, torch.Generator().manual_seed(1)
    network = shaken(MultiGameNetwork(tiny_config(), [spec], seed=2))
    compare(network, [shown_rows(spec, generator, turned=True)])


def test_a_turned_board_is_what_the_symmetry_says():
    spec, generator = toy("connect_four").spec, torch.Generator().manual_seed(1)
    shown = shown_rows(spec, generator, turned=True)
    for row, seen in enumerate(shown.observation()):
        flat = shown.ring[int(shown.index[row])].flatten(1)
        assert torch.equal(seen.flatten(1), flat[:, torch.tensor(spec.symmetries.cells[int(shown.pick[row])])])


def test_residual_convolutions_go_through_autograd():
    spec, generator = grid("a", 2, 4, 4), torch.Generator().manual_seed(1)
    network = shaken(MultiGameNetwork(tiny_config(encoder_blocks=1), [spec, vector("v", 7, 3)], seed=2))
    compare(network, [shown_rows(spec, generator), shown_rows(vector("v", 7, 3), generator)])
