"""Object masks from photographs with an exported model: numpy and one engine, never torch."""
