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
    command = [sys.executable, "-c", code + REPORT, *modules]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout[:-1]


ENGINES = ("onnxruntime", "torch", "onnx", "tensorrt", "pycuda")


@pytest.mark.parametrize("module", ["", ".runtime.cli.run", ".runtime.cli.doctor"])
def test_package_and_commands_import_no_library(module: str) -> None:
    """Names are found when they are used."""
    assert imported(f"import deepmask{module}", "numpy", "cv2", "PIL", *ENGINES) == "[]"


def test_public_names_import_no_engine() -> None:
    """`DeepMask` and `Proposals` need numpy; an engine's library comes when it is chosen."""
    assert imported("from deepmask import DeepMask, Proposals", *ENGINES) == "[]"
    assert imported("import deepmask.runtime.engines.tensorrt.plan_cache", *ENGINES) == "[]"


def test_a_whole_run_needs_no_training_library(model_folder: Path) -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['torch', 'onnx', 'pycocotools'])); "
        "import numpy; from deepmask import DeepMask; "
        f"model = DeepMask.load({str(model_folder)!r}, device='cpu'); "
        "image = numpy.full((60, 60, 3), 127, 'uint8'); image[10:40, 10:40] = 255; "
        "found = model(image); assert found.to_coco(1) and found.draw(image).shape == image.shape; "
        "del sys.modules['torch'], sys.modules['onnx'], sys.modules['pycocotools']"
    )
    assert imported(code, "pycocotools", *ENGINES) == "['onnxruntime']"


def test_public_names() -> None:
    for name in ("DeepMask", "Proposals", "read_image"):
        assert getattr(deepmask, name).__name__ == name
    assert set(deepmask.__all__) == {"DeepMask", "Proposals", "read_image", "__version__"}
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = deepmask.Nothing
