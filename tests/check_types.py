"""Run mypy on the rooms, or on the tests: `python -m tests.check_types [tests | TEST FILE...]`.

The rooms lie beside `deepmask/` in a checkout and in it once installed, which is how mypy must see
them; so it runs in a folder of links.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("coco", "networks", "train", "export", "runtime", "evaluate")


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="deepmask-types-") as temporary:
        folder = Path(temporary)
        (folder / "deepmask").mkdir()
        for source in (ROOT / "deepmask").iterdir():
            (folder / "deepmask" / source.name).symlink_to(source)
        for room in ROOMS:
            (folder / "deepmask" / room).symlink_to(ROOT / room)
        for beside in ("benchmarks", "tests"):
            (folder / beside).symlink_to(ROOT / beside)
        packages = [f"deepmask.{room}" for room in ROOMS] + ["benchmarks"]
        what = sys.argv[1:] or [word for package in packages for word in ("-p", package)]
        settings = ["--config-file", str(ROOT / "pyproject.toml"), "--explicit-package-bases"]
        cache = {"MYPY_CACHE_DIR": str(ROOT / ".mypy_cache")}
        return subprocess.run(
            [sys.executable, "-m", "mypy", *settings, *what],
            cwd=folder,
            env={**os.environ, **cache},
            check=False,
        ).returncode


if __name__ == "__main__":
    sys.exit(main())
