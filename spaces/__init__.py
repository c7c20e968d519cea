"""What may be tried: errors, one trial's parameters, the search space, presets and the budget."""
