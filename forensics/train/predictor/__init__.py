"""Training of the CNN that predicts correlations."""
