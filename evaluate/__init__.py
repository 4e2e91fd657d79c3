"""Measuring proposals as the papers do."""
