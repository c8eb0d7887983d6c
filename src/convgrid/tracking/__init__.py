"""Folders of runs and sweeps become MLflow runs, while they are trained or later."""
