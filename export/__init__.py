"""Export of a checkpoint to the ONNX graphs and `model.json` that the runtime reads.

`export_model` in `deepmask.export.exporter` is the whole of it; `deepmask-export` is its command.
"""
