"""What was learned: facts, then figures, then a page; and the exports."""
