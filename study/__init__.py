"""The words that everyone shares: typed, frozen values without a file or a process behind them."""
