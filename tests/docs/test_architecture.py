"""`docs/architecture.md` names every module, once."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("coco", "networks", "train", "export", "runtime", "evaluate", "benchmarks")


def test_every_module_is_named_once() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = Counter(re.findall(r"^\| `([a-z_/0-9]+\.py)` \|", page, re.MULTILINE))
    modules = {
        path.relative_to(ROOT).as_posix()
        for room in ROOMS
        for path in (ROOT / room).rglob("*.py")
        if path.name not in ("__init__.py", "conftest.py") and not path.name.startswith("test_")
    }
    assert set(named) == modules
    assert set(named.values()) == {1}
