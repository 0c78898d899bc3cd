"""Photo-response non-uniformity: residual, fingerprint, correlation, camera identification."""
