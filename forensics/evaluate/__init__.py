"""How good a score, a map or a predictor is, given the truth."""
