"""The application layer: what the command, a notebook and a service call; no terminal is known here."""
