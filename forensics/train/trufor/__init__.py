"""Training of TruFor in its three phases, in plain torch (Guillaro et al., CVPR 2023)."""
