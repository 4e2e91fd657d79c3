"""Anchors: boxes that every location of a pyramid's levels starts from, and what learns there."""
