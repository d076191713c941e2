"""The command line, the loop and the run directory."""
