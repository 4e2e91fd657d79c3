"""Load tensor files from strangers: tensors and plain values, never code."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from deepmask.runtime.errors import one_line

#: Most that a file may hold beside its tensors: names, numbers, lists. Bytes.
LARGEST_PICKLE = 64 << 20


class TensorFileError(ValueError):
    """A file that holds no tensors; the text is one line, without the file's name."""


def read_tensors(path: Path) -> Any:
    """Load a file that `torch.save` wrote, to the CPU, without running code in it.

    Raises `TensorFileError` for a file that is none, is cut short, holds other objects, or would
    take more memory than its own size, and `OSError` for one that cannot be read.
    """
    with path.open("rb") as file:
        _check_archive(path, file.read(4))
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise TensorFileError("no PyTorch file, or one that holds more than tensors") from error
    except MemoryError:
        raise
    except Exception as error:  # a damaged file makes PyTorch's readers fail in many ways
        raise TensorFileError(f"not a PyTorch file, or cut short ({one_line(error)})") from error


def _check_archive(path: Path, magic: bytes) -> None:
    # `torch.save` compresses nothing, so an archive must not unpack to more than its size.
    if not magic.startswith(b"PK"):
        return  # PyTorch's format of before 2020
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, UnicodeDecodeError) as error:
        raise TensorFileError(f"not a PyTorch file, or cut short ({one_line(error)})") from error
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise TensorFileError("a compressed archive, which PyTorch never writes")
    if sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise TensorFileError("an archive that unpacks to more than the file has")
    pickles = sum(entry.file_size for entry in entries if entry.filename.endswith(".pkl"))
    if pickles > LARGEST_PICKLE:
        raise TensorFileError(f"holds over {LARGEST_PICKLE >> 20} MiB of other things than tensors")
