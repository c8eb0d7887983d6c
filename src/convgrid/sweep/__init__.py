"""Many trials of one command line: planned together, run side by side, each found again by what it is."""
