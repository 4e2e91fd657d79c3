"""How fast the runtime is, and how far from what the machine's arithmetic allows.

`pytest benchmarks/ --benchmark` from the repository root; NOTES.md says what was found.
"""
