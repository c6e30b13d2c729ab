"""Many training runs, one machine or many, nothing lost."""
