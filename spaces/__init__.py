"""What may be tried: the register of hyperparameters, their dimensions in a search, the space and presets."""
