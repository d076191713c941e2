"""The contract over every game of every ecosystem that can be named here (`pytest -m slow`): no game is registered and
untested. The native games are in test_contract.py."""

from __future__ import annotations

import pytest

from envs import registry
from envs.check import check
from envs.game import MissingExtraError

NAMES = [name for origin, names, _ in registry.groups() if origin not in ("native", "plug-ins") for name in names]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_game_keeps_the_contract(name):
    try:
        game = registry.make(name)
    except MissingExtraError as error:
        pytest.skip(str(error))
    report = check(game, num_copies=2, num_moves=20)
    assert [finding for _, finding in report.findings() if finding.broken] == []
    assert game.spec.family not in ("", "other")
