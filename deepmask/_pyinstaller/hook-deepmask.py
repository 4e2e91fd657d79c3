"""What PyInstaller does not see: the shipped model, and the engines that are installed."""

from __future__ import annotations

from importlib.util import find_spec

from PyInstaller.utils.hooks import collect_data_files, collect_dynamic_libs, copy_metadata

#: Libraries of engines, and the module of ours that imports each.
_ENGINES = {"onnxruntime": "onnxruntime", "openvino": "openvino", "pycuda": "tensorrt.engine"}

datas = [*collect_data_files("deepmask.runtime"), *copy_metadata("deepmask-trt")]
binaries = []
hiddenimports = ["deepmask.runtime.predict.deepmask", "deepmask.runtime.io.images"]
for library, module in _ENGINES.items():
    if find_spec(library) is not None:
        hiddenimports.append(f"deepmask.runtime.engines.{module}")
        binaries += collect_dynamic_libs(library, search_patterns=["*.so*", "*.dll", "*.dylib"])
        datas += collect_data_files(library, excludes=["**/*.so*", "**/*.h", "**/*.hpp"])
