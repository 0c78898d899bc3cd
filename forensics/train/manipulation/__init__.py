"""Training of the networks that tell manipulations apart."""
