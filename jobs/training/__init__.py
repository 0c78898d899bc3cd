"""Training on Ray Train: plan, block samples, worker loop, checkpoints on any storage, reports."""
