"""Networks, targets, replay buffer, self-play, learner, players."""
