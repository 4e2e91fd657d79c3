"""Export of a checkpoint to the ONNX graphs and `model.json` that the runtime reads."""
