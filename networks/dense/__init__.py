"""The exportable form of each network: dense graphs in PyTorch."""
