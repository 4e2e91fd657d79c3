"""Read images; write results, overlays and whole files."""
