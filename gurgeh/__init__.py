"""The command line, the loop and the run directory."""

import importlib.metadata

__version__ = importlib.metadata.version("gurgeh")
