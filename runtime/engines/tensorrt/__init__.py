"""TensorRT and TensorRT for RTX on an NVIDIA GPU."""
