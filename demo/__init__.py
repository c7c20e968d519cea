"""The embedded default: a tiny base model, its instruction data, and the program that builds both."""
