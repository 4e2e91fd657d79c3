"""Networks, their configurations and presets."""
