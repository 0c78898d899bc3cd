"""Ray and MLflow around the library: each job is wiring, the work is in `forensics`."""
