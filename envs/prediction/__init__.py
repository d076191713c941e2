"""Prediction as games: what comes next in a text or a picture is the move, and 1 is the reward for the right one."""
