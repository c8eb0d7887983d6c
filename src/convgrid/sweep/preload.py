"""What the fork server imports before it forks: all that a worker needs. Imported by nobody else."""

from convgrid.system.imports import import_lightning
from convgrid.system.memory import uncollected
from convgrid.system.processes import end_with_parent, ignore_ending

ignore_ending()
end_with_parent()  # it stands outside of `convgrid.sweep`, which takes a while to import
with uncollected():
    import_lightning()
    import convgrid.sweep.worker  # noqa: F401
