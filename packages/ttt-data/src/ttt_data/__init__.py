"""Text to tokens to batches, with a built-in corpus and tokenizer."""
