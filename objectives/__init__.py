"""How a trial is measured: data, base model, the pack of trials, evaluation, the worker process."""
