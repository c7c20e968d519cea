"""What to try next: the study, pure decisions about trials, and the loop that drives the workers."""
