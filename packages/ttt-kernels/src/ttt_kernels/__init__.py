"""The inner loop of Test-Time-Training layers: tensors in, tensors out."""
