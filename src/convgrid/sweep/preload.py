"""What the fork server imports before it forks: all that a worker needs. Imported by nobody else."""

from convgrid.imports import import_lightning
from convgrid.memory import uncollected
from convgrid.sweep.executor import end_with_parent

end_with_parent()
with uncollected():
    import_lightning()
    import convgrid.sweep.worker  # noqa: F401
