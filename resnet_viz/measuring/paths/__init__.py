"""The gradient by the length of the paths it came back over (Veit et al. 2016, made exact)."""
