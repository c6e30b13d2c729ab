"""Triton kernels for TTT-Linear: `naive` without matrix units, `tile` with them, and decoding."""
