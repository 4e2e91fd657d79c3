"""TensorRT: its library, what it builds from a model's graphs, and where that is kept."""
