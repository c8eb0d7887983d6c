"""What the fork server imports before it forks: all that a worker needs. Imported by nobody else."""

from convgrid.imports import import_lightning
from convgrid.memory import uncollected
from convgrid.processes import end_with_parent

end_with_parent()  # it stands outside of `convgrid.sweep`, which takes a while to import
with uncollected():
    import_lightning()
    import convgrid.sweep.worker  # noqa: F401
