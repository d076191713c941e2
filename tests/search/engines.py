"""The engines under test, by name."""

from search import torch_engine

ENGINES = {"torch": torch_engine.grow}
