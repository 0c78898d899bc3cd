"""The correlation predictors' training on Ray Train: what to train, on what, what is kept of it."""
