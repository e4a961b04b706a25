"""Plain and residual nets of two depths, trained alike (He et al. 2015, figures 1 and 6)."""
