"""Training of the network that tells where an image comes from."""
