"""Evaluations on Ray: a finished scan against the truth, and the studies of the papers."""
