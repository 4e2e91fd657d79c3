"""Training on patches: windows cut around objects, and what DeepMask and SharpMask learn there."""
