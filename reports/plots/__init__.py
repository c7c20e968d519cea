"""The plots: what each shows, its figure, its text for a terminal."""
