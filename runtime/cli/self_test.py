"""`deepmask-doctor --self-test FILE`: try every engine, show one screen, write one JSON file."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from pathlib import Path

from deepmask.runtime.cli.messages import say, say_aside
from deepmask.runtime.doctor import system_info
from deepmask.runtime.doctor.self_test import as_lines, as_record, self_test
from deepmask.runtime.doctor.ways import on_cpu, ways
from deepmask.runtime.errors import OneLineError
from deepmask.runtime.io.images import read_image
from deepmask.runtime.io.outputs import require_writable
from deepmask.runtime.io.results import write_file
from deepmask.runtime.model.folder import load_manifest
from deepmask.runtime.model.shipped import find_model


def run_self_test(
    engine: str,
    device: str,
    model: Path | None,
    cache: Path | None,
    out: Path,
    photos: Sequence[Path],
) -> None:
    """Try every engine, or the one that is asked for; raises `OneLineError` if one is not right."""
    require_writable({"--self-test": [out]}, photos, force=None)
    photographs = [read_image(photo) for photo in photos]
    folder = find_model(model)
    manifest = load_manifest(folder)
    gpus, no_gpu = system_info.gpus()
    machine = {
        "deepmask": system_info.project_version(),
        "python": f"{platform.python_version()}, {platform.platform()}",
        "cpu": system_info.cpu(),
        "gpu": "; ".join(gpus) or f"none ({no_gpu})",
        "model": f"{manifest.name}, {manifest.precision}",
    }
    tried = ways(folder, engine, device, cache)
    results = self_test(lambda: on_cpu(folder), tried, photographs, say_aside)
    write_file(out, f"{json.dumps(as_record(results, machine), indent=1)}\n".encode())
    for name, text in machine.items():
        say(f"{name:<13}{text}")
    for line in as_lines(results):
        say(line)
    say(f"{'figures':<13}{out}")
    if bad := [one.name for one in results if one.failed]:
        raise OneLineError(f"not as it should be: {', '.join(bad)}; please send {out}")
