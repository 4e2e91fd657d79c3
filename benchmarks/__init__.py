"""Measure how fast the runtime is, and how far from what the machine's arithmetic allows.

Run `pytest benchmarks/ --benchmark` from the repository root; NOTES.md has the findings.
"""
