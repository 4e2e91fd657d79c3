"""The runtime is light: it starts at once and never brings the training libraries."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import deepmask

#: Prints which of the named modules the code before it imported.
REPORT = "; import sys; print(sorted(set(sys.argv[1:]) & set(sys.modules)))"


def imported(code: str, *modules: str) -> str:
    """Run code in a fresh interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", code + REPORT, *modules],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.splitlines()[-1]


def test_package_imports_no_library() -> None:
    """Names are found when they are used."""
    libraries = ("numpy", "cv2", "PIL", "onnxruntime", "torch", "onnx", "tensorrt", "pycuda")
    assert imported("import deepmask", *libraries) == "[]"
    assert imported("import deepmask.runtime.cli.run", *libraries) == "[]"


def test_public_names_import_no_engine() -> None:
    """`DeepMask` and `Proposals` need numpy; an engine's library comes when it is chosen."""
    code = "from deepmask import DeepMask, Proposals"
    assert imported(code, "onnxruntime", "torch", "onnx", "tensorrt", "pycuda") == "[]"


def test_a_whole_run_needs_no_training_library(model_folder: Path) -> None:
    """Also where torch and onnx cannot be imported at all."""
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['torch', 'onnx', 'pycocotools'])); "
        "import numpy; from deepmask import DeepMask; "
        f"model = DeepMask.load({str(model_folder)!r}, device='cpu'); "
        "image = numpy.full((60, 60, 3), 127, 'uint8'); image[10:40, 10:40] = 255; "
        "found = model(image); assert found.to_coco(1) and found.draw(image).shape == image.shape; "
        "del sys.modules['torch'], sys.modules['onnx'], sys.modules['pycocotools']"
    )
    modules = ("onnxruntime", "torch", "onnx", "pycocotools", "tensorrt", "pycuda")
    assert imported(code, *modules) == "['onnxruntime']"


def test_public_names() -> None:
    """All that is promised is there; anything else is the usual error."""
    for name in ("DeepMask", "Proposals", "read_image"):
        assert getattr(deepmask, name).__name__ == name
    assert set(deepmask.__all__) == {"DeepMask", "Proposals", "read_image", "__version__"}
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = deepmask.Nothing
