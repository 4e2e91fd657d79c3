"""Check that two installed versions give the same results, byte for byte.

`python -m benchmarks.same_results OLD/bin NEW/bin --annotations A.json --images DIR` runs
`deepmask-trt-run` and `deepmask-eval` of both environments on labelled pictures with their shipped
models. Proposals must be the same bytes; so must the evaluation's records, but for the seconds that
an image took. Prints what was compared; exit code 1 if anything differs.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import click

from deepmask.runtime.cli.main import Command, run_command

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


def proposals(commands: Path, images: list[Path], folder: Path) -> bytes:
    """Run `deepmask-trt-run` of an environment on images; returns its JSON file."""
    out = folder / "proposals.json"
    _run(
        commands / "deepmask-trt-run", *images, "--device", "cpu", "--proposals", 1000, "--out", out
    )
    return out.read_bytes()


def records(commands: Path, annotations: Path, images: Path, limit: int, folder: Path) -> list[Any]:
    """Run `deepmask-eval` of an environment; returns its records without the seconds."""
    out = folder / "eval"
    options = (
        "--annotations",
        annotations,
        "--images",
        images,
        "--limit",
        limit,
        "--device",
        "cpu",
    )
    _run(commands / "deepmask-eval", *options, "--out", out)
    lines = (out / "records.jsonl").read_text(encoding="utf-8").splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def _run(*command: object) -> None:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        raise click.ClickException(f"{command[0]} failed: {done.stderr.strip()[-300:]}")


@click.command(cls=Command)
@click.argument("old", type=_FOLDER)
@click.argument("new", type=_FOLDER)
@click.option("--annotations", type=_FILE, required=True, help="COCO instances JSON.")
@click.option("--images", type=_FOLDER, required=True, help="Folder of its pictures.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="Pictures.")
def command(old: Path, new: Path, annotations: Path, images: Path, limit: int) -> int:
    """Compare the results of two environments, given by the folders of their commands."""
    entries = json.loads(annotations.read_text(encoding="utf-8"))["images"]
    names = [entry["file_name"] for entry in sorted(entries, key=lambda entry: entry["id"])[:limit]]
    paths = [images / name for name in names]
    found = []
    for commands in (old, new):
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            found.append(
                (
                    proposals(commands, paths, folder),
                    records(commands, annotations, images, limit, folder),
                )
            )
    code = 0
    for what, first, second in zip(("proposals", "records"), *found, strict=True):
        same = first == second
        code |= not same
        click.echo(f"{what:<10} of {len(names)} pictures: {'the same' if same else 'differ'}")
    return int(code)


if __name__ == "__main__":
    run_command(command, "python -m benchmarks.same_results", "test")
