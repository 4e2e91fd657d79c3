"""Training of DeepMask in PyTorch."""
