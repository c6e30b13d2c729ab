"""The ttt command: train, run and study Test-Time-Training language models."""
