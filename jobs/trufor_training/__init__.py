"""TruFor's training on Ray Train: data, starting weights, worker loop, what is said of it."""
