"""Other people's formats, a file for each system."""
