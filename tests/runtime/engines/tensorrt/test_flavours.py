"""TensorRT's library is loaded when asked for, and its absence explained in one line."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deepmask.runtime.engines.base import EngineError
from deepmask.runtime.engines.tensorrt.flavours import load_library


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Libraries are loaded once a process; not so here."""
    load_library.cache_clear()
    yield
    load_library.cache_clear()


PRETENDED = """
__version__ = {version!r}
class ILogger:
    ERROR, WARNING, INFO = 1, 2, 3
"""


Pretend = Callable[[str], None]


@pytest.fixture
def pretend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pretend:
    def put(text: str) -> None:
        (tmp_path / "tensorrt.py").write_text(text, encoding="utf-8")
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
        importlib.invalidate_caches()

    return put


def refusal(flavour: str = "tensorrt") -> str:
    with pytest.raises(EngineError) as caught:
        load_library(flavour)
    return str(caught.value)


@pytest.mark.parametrize("version", ["10.3.0", "10.16.1.11", "11.4.0.106"])
def test_a_supported_version(version: str, pretend: Pretend) -> None:
    pretend(PRETENDED.format(version=version))
    library = load_library("tensorrt")
    assert (library.flavour, library.version) == ("tensorrt", version)
    assert load_library("tensorrt") is library  # one logger a process


@pytest.mark.parametrize("version", ["8.6.1", "10.2.0.19", "12.0.0", "unknown"])
def test_another_version_is_refused(version: str, pretend: Pretend) -> None:
    pretend(PRETENDED.format(version=version))
    told = f"tensorrt {version} is installed, accepted is >=10.3, <12: "
    assert refusal() == f"{told}pip install 'deepmask-trt[tensorrt]'"


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        ("OSError('libnvinfer.so.11: cannot open shared object file\\nTraceback')", "libnvinfer"),
        ("RuntimeError()", "RuntimeError"),
        ("KeyError('CUDA_PATH')", "CUDA_PATH"),
    ],
)
def test_a_library_that_does_not_load_is_one_line(raised: str, told: str, pretend: Pretend) -> None:
    pretend(f"raise {raised}")
    text = refusal()
    assert text.startswith("tensorrt is installed but cannot be loaded: ")
    assert told in text
    assert text.endswith("; pip install 'deepmask-trt[tensorrt]'")
    assert "\n" not in text


@pytest.mark.parametrize("flavour", ["tensorrt", "tensorrt-rtx"])
def test_an_absent_library_says_how(flavour: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert refusal(flavour) == f"{flavour} is not installed: pip install 'deepmask-trt[{flavour}]'"


def test_the_logger_keeps_warnings_and_errors(pretend: Pretend) -> None:
    pretend(PRETENDED.format(version="11.0"))
    library = load_library("tensorrt")
    library.logger.log(3, "chatter")
    library.logger.log(2, "a warning\n of two lines")
    library.logger.log(1, "an error")
    library.logger.log(2, "a warning of two lines")
    assert library.messages.take() == ["a warning of two lines", "an error"]
    assert library.messages.take() == []
    assert library.said() == ""
    library.logger.log(1, "  one\n\ttwo ")
    assert library.said() == ": one two"
