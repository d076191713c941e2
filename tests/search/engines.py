"""The engines under test, by name."""

from search import numba_engine, torch_engine

ENGINES = {"torch": torch_engine.run, "numba": numba_engine.run}
HAVE_CHANCE = tuple(ENGINES)  # the engines that know chance nodes
