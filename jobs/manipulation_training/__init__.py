"""Training of manipulation networks on Ray Train: patches, worker loop, what is said of it."""
