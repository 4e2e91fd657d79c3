"""Find the images that are meant by files, folders, patterns and standard input; name them."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from glob import glob, has_magic
from pathlib import Path

from deepmask.runtime.distribution import NAME
from deepmask.runtime.errors import UsageError
from deepmask.runtime.io.images import SUFFIXES
from deepmask.runtime.io.written import Written

#: Stands for standard input among the inputs.
STDIN = Path("-")
#: What the file that holds standard input is called.
STDIN_NAME = "stdin"
#: A path object takes one of the two slashes away.
_URL = re.compile(r"(https?|ftp|s3|gs|file):/+", re.IGNORECASE)


class InputError(UsageError):
    """Inputs that name no image, or pictures that cannot be written."""


@contextmanager
def with_stdin(inputs: Sequence[Path]) -> Iterator[list[Path]]:
    """Yield the inputs with `-` replaced by a temporary file of what standard input holds."""
    if STDIN not in inputs:
        yield list(inputs)
        return
    if len(inputs) > 1:
        raise InputError("-: standard input is one image, give it alone")
    if sys.stdin is None or sys.stdin.isatty():
        raise InputError(
            "-: nothing is piped to standard input, as in: cat a.jpg | deepmask-trt-run -"
        )
    with tempfile.TemporaryDirectory(prefix="deepmask-") as folder:
        file = Path(folder) / STDIN_NAME
        with file.open("wb") as copy:
            shutil.copyfileobj(sys.stdin.buffer, copy)
        yield [file]


def expand(
    inputs: Sequence[Path], recursive: bool = False, leave_out: Sequence[Path] = ()
) -> list[Path]:
    """Replace each folder among the inputs by the image files in it, by name; patterns likewise.

    recursive  look in the folders of folders, too.
    leave_out  folders within them to pass over: results that are written there are no inputs.

    Hidden files and folders are passed over, and in folders what an earlier run wrote there. A file
    that is named twice is taken once. Raises `InputError` for a folder without images, a pattern
    that nothing matches, a file that is not there, a URL, and for what cannot be read.
    """
    paths: list[Path] = []
    for given in inputs:
        if _URL.match(str(given)):
            url = _URL.sub(r"\1://", str(given))
            raise InputError(f"{url}: is a URL; download it first, as with: curl -O {url}")
        try:
            if given.is_dir():
                paths += _images_in(given, recursive, leave_out)
            elif has_magic(str(given)) and not given.exists():
                paths += _matching(given)
            elif given.exists() or str(given).isdecimal():  # the number of a camera
                paths.append(given)
            else:
                raise InputError(f"{given}: no such file")
        except OSError as error:
            raise InputError(f"{given}: cannot be read ({error.strerror})") from error
    first: dict[str, Path] = {}
    for path in paths:  # a link is another name, so none is followed
        first.setdefault(os.path.abspath(path), path)  # noqa: PTH100
    return list(first.values())


def names_of(paths: Sequence[Path], inputs: Sequence[Path]) -> list[str]:
    """Name each image by its path from the folder that all inputs have in common, with slashes.

    An image of the only folder given, or a single file, thus has its bare name, and equal names in
    two folders stay apart. `paths` are what `expand` makes of `inputs`.
    """
    folders = [given for given in inputs if given.is_dir()]
    within = [path.parent for path in paths if not any(one in path.parents for one in folders)]
    try:
        common = os.path.commonpath(map(os.path.abspath, [*folders, *within]))
    except ValueError:  # drives of Windows
        return [path.as_posix() for path in paths]
    return [Path(os.path.relpath(path, common)).as_posix() for path in paths]


def _images_in(folder: Path, recursive: bool, leave_out: Sequence[Path]) -> list[Path]:
    passed = set(map(os.path.realpath, leave_out))
    found: list[Path] = []
    for place, below, files in os.walk(folder, onerror=_raise):
        seen = [one for one in below if not one.startswith(".")]
        below[:] = [
            one
            for one in sorted(seen)
            if recursive and os.path.realpath(Path(place, one)) not in passed
        ]
        found += [
            Path(place, one)
            for one in sorted(files)
            if Path(one).suffix.lower() in SUFFIXES and not one.startswith(".")
        ]
    written = Written()
    images = [path for path in found if not written.has(path)]
    if found and not images:
        raise InputError(
            f"{folder}: holds no images but those that {NAME} wrote; a pattern, as in "
            f"'{folder}/*', takes them as any others"
        )
    if not images:
        where = "in or below this folder" if recursive else "in this folder"
        more = "" if recursive else "; --recursive also searches the folders in it"
        raise InputError(f"{folder}: no images {where} ({', '.join(SUFFIXES)}){more}")
    return images


def _matching(pattern: Path) -> list[Path]:
    # Absolute patterns are not for `Path.glob`.
    found = [Path(name) for name in sorted(glob(str(pattern), recursive=True))]  # noqa: PTH207
    images = [path for path in found if path.suffix.lower() in SUFFIXES and not path.is_dir()]
    if not images:
        raise InputError(f"{pattern}: no image matches this pattern ({', '.join(SUFFIXES)})")
    return images


def _raise(error: OSError) -> None:
    raise error
