"""The embedded default: a tiny base model, its instruction data, and the program that builds both."""

from __future__ import annotations

from pathlib import Path

MODEL_FOLDER = "model"
DATA_FILE = "data/harbour.jsonl"


def model_path() -> Path:
    """Return the folder of the demo's base model."""
    return Path(__file__).parent / MODEL_FOLDER


def data_path() -> Path:
    """Return the file of the demo's instruction records."""
    return Path(__file__).parent / DATA_FILE
