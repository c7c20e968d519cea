"""What ``benchmarks/faults.py`` is made of: studies, their records, and the faults that strike them."""
