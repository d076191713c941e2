"""Lets the tests of this folder import their helpers (`golden`, `models`)."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

# Searches of many simulations, some seconds each where the CUDA engine's kernels run on numpy (`engines.py`). What they
# are about is tested on the other engines, and this engine by all other tests.
SLOW_ON_NUMPY = (
    "test_a_gamble_is_worth_its_expectation_and_the_better_one_is_taken",
    "test_a_node_without_unvisited_actions_completes_none",
    "test_control_with_exact_dynamics",
    "test_puct_finds_the_best_of_its_samples",
    "test_the_best_action_of_a_bandit_comes_nearer_with_more_samples",
    "test_the_better_gamble_is_found_against_the_prior",
    "test_the_worst_outcome_does_not_frighten_nor_the_best_tempt",
    "test_visits_follow_the_probabilities",
)


@pytest.hookimpl(tryfirst=True)  # before `-m "not slow"` is looked at
def pytest_collection_modifyitems(items):
    if torch.cuda.is_available():
        return
    for item in items:
        callspec = getattr(item, "callspec", None)
        if item.name.startswith(SLOW_ON_NUMPY) and callspec and "triton" in callspec.id.split("-"):
            item.add_marker(pytest.mark.slow)
