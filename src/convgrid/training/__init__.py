"""One trial: the learner, its steps, its checkpoints, and what is written down of it."""
