"""What tests and benchmarks hold the training against."""
