"""Files in and out: images, results, overlays, atomic writes."""
