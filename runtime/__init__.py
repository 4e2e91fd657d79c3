"""Run an exported model: numpy and one engine, never torch."""
