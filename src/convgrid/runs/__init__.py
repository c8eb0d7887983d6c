"""The folders of runs and sweeps: written, read, and found by name."""
