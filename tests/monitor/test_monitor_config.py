"""Every number of the monitor's configuration has bounds."""

import dataclasses
import math

import pytest

from monitor import MonitorConfig

NUMBERS = [field.name for field in dataclasses.fields(MonitorConfig) if field.type in ("int", "float")]


def test_the_numbers_are_found():
    assert len(NUMBERS) == 21


@pytest.mark.parametrize("value", [math.nan, -1, math.inf, 1e300])
@pytest.mark.parametrize("name", NUMBERS)
def test_meaningless_numbers_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name}.*found .*{value}".replace("+", r"\+")):
        MonitorConfig(**{name: value})
