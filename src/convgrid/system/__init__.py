"""The process and its machine: imports, memory, other processes, seeds, environment."""
