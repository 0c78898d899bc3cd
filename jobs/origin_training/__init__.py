"""The origin's training on Ray Train: images, worker loop, what is said of a network."""
