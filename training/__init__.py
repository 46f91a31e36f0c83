"""Training, evaluation, the gate and the search."""
