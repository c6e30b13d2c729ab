"""Inner models of Test-Time-Training layers as torch modules."""
