"""loratune finds the best hyperparameters for LoRA fine-tuning of a language model."""

__version__ = "0.1.0"
