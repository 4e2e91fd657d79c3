"""Engines: what runs the graphs of a model."""
