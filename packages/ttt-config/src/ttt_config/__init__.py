"""Typed configuration and the error tree of the ttt packages."""
