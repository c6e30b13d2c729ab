"""What starts runs: this machine, or one that others share."""
