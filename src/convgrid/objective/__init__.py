"""What a training goes by: how loss and targets fit, metrics, and from scores to predictions."""
