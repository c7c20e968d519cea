"""Trials trained on one frozen base model."""
