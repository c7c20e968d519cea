"""What predictions are worth beside their loss: labels and written answers, by well-known libraries."""
