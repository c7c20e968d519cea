"""Where training runs: a process over a pipe."""
