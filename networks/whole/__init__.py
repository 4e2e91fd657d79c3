"""Whole pictures for training: views of them, targets of every location, batches and losses."""
