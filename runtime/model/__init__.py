"""The model folder: `model.json` and the ONNX files it names."""
