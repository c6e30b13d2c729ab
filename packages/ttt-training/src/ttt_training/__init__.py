"""Training, evaluation and generation with TTT language models."""
