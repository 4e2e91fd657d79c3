"""The exportable form of each network."""
