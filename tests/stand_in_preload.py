"""What a stand-in's fork server imports instead of torch."""

from convgrid.system.processes import end_with_parent, ignore_ending

ignore_ending()
end_with_parent()
import stand_in_nodes  # noqa: E402, F401
