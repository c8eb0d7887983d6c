"""A trained model without its training: found, put together again, asked, exported, described, stored in MLflow."""
