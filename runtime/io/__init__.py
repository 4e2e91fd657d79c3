"""Read images and videos; write results, overlays, formats of other tools and whole files."""
