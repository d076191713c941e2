"""Every number of every section of a run's configuration has bounds."""

import dataclasses
import math
import typing

import pytest

from gurgeh.config import RunConfig

SECTIONS = {field.name: getattr(RunConfig(), field.name) for field in dataclasses.fields(RunConfig)}
NUMBERS = [
    (section, name)
    for section, config in SECTIONS.items()
    if dataclasses.is_dataclass(config)
    for name, kind in typing.get_type_hints(type(config)).items()
    if kind in (int, float)
]


def test_the_numbers_are_found():
    assert len(NUMBERS) > 40
    assert {section for section, _ in NUMBERS} >= {"learner", "replay", "schedule", "monitor", "evaluation"}


@pytest.mark.parametrize("value", [math.nan, math.inf, -1, 1e300])
@pytest.mark.parametrize(("section", "name"), NUMBERS)
def test_meaningless_numbers_are_refused(section, name, value):
    with pytest.raises(ValueError, match=name):
        dataclasses.replace(SECTIONS[section], **{name: value})


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_seeds_that_no_generator_takes_are_refused(seed):
    with pytest.raises(ValueError, match=f"seed must be from 0 to 4294967295, found {seed}"):
        RunConfig(seed=seed)


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [("replay", "correction_exponent", 9.0), ("replay", "priority_exponent", 2.0), ("learner", "weight_decay", 50.0),
     ("monitor", "dormant_tau", -1.0), ("network", "value_limit", 100.0), ("search", "gamma", 1.5)],
)  # fmt: skip
def test_numbers_beyond_what_they_mean_are_refused(section, name, value):
    with pytest.raises(ValueError, match=rf"{section}\.{name}"):
        dataclasses.replace(SECTIONS[section], **{name: value})
