"""Training on Ray Train, for any network: run, follow, checkpoints on any storage, registry."""
