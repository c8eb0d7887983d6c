"""What the fork server imports before it forks: all that a worker needs. Imported by nobody else."""

from convgrid.memory import uncollected

with uncollected():
    import convgrid.sweep.worker  # noqa: F401
