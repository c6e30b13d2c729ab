"""Test-Time-Training layers, blocks and language models."""
