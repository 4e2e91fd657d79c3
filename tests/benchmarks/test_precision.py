"""Recall with lower precisions: what is written, and what is never written over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from benchmarks import precision
from deepmask.runtime.io.outputs import RefusedError

FIGURES: dict[str, Any] = {"pictures": 1, "segm": {f"AR@{n}": 0.25 for n in (10, 100, 1000)}}


def run(*arguments: object) -> click.testing.Result:
    given = ("--annotations", "labels.json", "--images", "images", *arguments)
    return CliRunner().invoke(precision.main, [str(one) for one in given], catch_exceptions=False)


def test_forms_of_an_earlier_run_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[str] = []

    def measure(folder: Path, *_: object) -> dict[str, Any]:
        measured.append(folder.name)
        return FIGURES

    monkeypatch.setattr(precision, "measure", measure)
    out = tmp_path / "figures.json"
    for _ in range(2):
        done = run("--form", "fp32", "--out", out)
        assert done.output == (
            "fp32       mask AR @10 0.2500  @100 0.2500  @1000 0.2500  (1 pictures)\n"
        )
    assert measured == ["fp32"]
    assert json.loads(out.read_text()) == {"fp32": FIGURES}


@pytest.mark.parametrize("content", ["notes", "[]", '{"fp32": 3}', '{"mine": {"segm": {}}}'])
def test_what_no_run_wrote_is_never_replaced(tmp_path: Path, content: str) -> None:
    out = tmp_path / "figures.json"
    out.write_text(content)
    with pytest.raises(RefusedError, match="exists and holds no figures of this"):
        run("--out", out)
    assert out.read_text() == content


def test_an_input_is_never_replaced(tmp_path: Path) -> None:
    labels = tmp_path / "labels.json"
    labels.write_text("{}")
    with pytest.raises(RefusedError, match="is an input, which is never replaced"):
        run("--annotations", labels, "--out", labels)
    with pytest.raises(RefusedError, match="is a folder"):
        run("--annotations", labels, "--out", tmp_path)
