"""Naming boxes: offsets of boxes, which boxes learn what, losses, batches and objective."""
