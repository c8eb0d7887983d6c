"""Who trains a sweep's trials: processes of this machine, or node processes on others that a launcher brings."""
