"""A run's folder keeps its options, and a new run replaces nothing that is not one's."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import click
import pytest

from deepmask.networks.presets import PRESETS
from deepmask.runtime.io.outputs import RefusedError, UnwritableError
from deepmask.train.cli import command
from deepmask.train.data import DataFiles
from deepmask.train.errors import TrainUsageError
from deepmask.train.run import Request, check_request, settings_of
from deepmask.train.run_file import NAME, read_settings, write_settings


@pytest.fixture
def request_of_run(tmp_path: Path) -> Request:
    recipe = replace(PRESETS["sharpmask-r18"].recipe, steps=7, lr=0.25)
    data = DataFiles(Path("a.json"), Path("images"), (Path("b.json"), Path("c.json")))
    return Request(
        "sharpmask-r18", data, tmp_path / "run", recipe, base=tmp_path / "base.pt", seed=3
    )


def test_a_resumed_run_is_parsed_as_it_was_started(
    request_of_run: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From another folder, and with what is given in place of what was."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "run"
    folder.mkdir()
    write_settings(folder, settings_of(request_of_run))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for given in (["--resume", "../run"], ["--resume=../run"], ["--out", "../run", "--resume"]):
        options = command.make_context("deepmask-train", [*given, "--lr", "0.5"]).params
        assert options["preset"] == "sharpmask-r18"
        assert options["train_annotations"] == tmp_path / "a.json"
        assert options["mask_annotations"] == (tmp_path / "b.json", tmp_path / "c.json")
        assert (options["val_images"], options["mask_images"]) == (None, None)
        assert (options["steps"], options["lr"], options["seed"]) == (7, 0.5, 3)
        assert (options["init"], options["base"]) == (None, None)


def test_every_option_of_a_run_is_kept(request_of_run: Request) -> None:
    """Each name is an option's, and each option's but those that say where and whence."""
    kept = set(settings_of(request_of_run))
    recipe = {item.name for item in fields(PRESETS["sharpmask-r18"].recipe)}
    assert recipe <= kept
    options = {str(one.name) for one in command.params} - {"version", "quiet"}
    only_now = {"show_preset", "check_data", "as_json", "as_coco"}
    assert options - kept == {"init", "base", "out", "resume", *only_now}
    assert kept - options == recipe


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": "deepmask-eval/1"}', "[" * 10**5, " " * 10**6 + "{}"]
)
def test_what_is_no_settings_file_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / NAME).write_text(text)
    with pytest.raises(TrainUsageError, match=r"run\.json: not what deepmask-train writes"):
        read_settings(tmp_path)


def test_values_that_no_option_has_are_told_or_left_out(tmp_path: Path) -> None:
    content = {"format": "deepmask-train/1", "preset": {"a": 1}, "seed": "nothing", "other": None}
    (tmp_path / NAME).write_text(json.dumps(content))
    assert read_settings(tmp_path) == {"seed": "nothing"}
    given = ["--train-annotations", "a.json", "--train-images", "images"]
    with pytest.raises(click.UsageError, match="'nothing' is not a valid integer"):
        command.make_context("deepmask-train", [*given, "--resume", str(tmp_path)])


@pytest.mark.parametrize("name", ["run.json", "best.pt", "log.csv"])
def test_a_strangers_file_is_not_replaced(request_of_run: Request, name: str) -> None:
    out = request_of_run.out
    out.mkdir()
    (out / "notes.txt").write_text("of another name")
    check_request(request_of_run)
    (out / name).write_text("a stranger's")
    with pytest.raises(TrainUsageError, match=r"was not made by deepm|not what deepmask-train"):
        check_request(request_of_run)
    (out / name).unlink()
    write_settings(out, settings_of(request_of_run))
    check_request(request_of_run)  # a run that was killed before its first checkpoint


def test_what_a_run_starts_from_is_not_replaced(request_of_run: Request) -> None:
    out = request_of_run.out
    out.mkdir()
    write_settings(out, settings_of(request_of_run))
    (out / "best.pt").write_text("what was learnt")
    with pytest.raises(RefusedError, match=r"best\.pt: is an input, which is never replaced"):
        check_request(replace(request_of_run, base=out / ".." / "run" / "best.pt"))


def test_a_folder_that_cannot_be_written_is_told_first(
    request_of_run: Request, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    for resume in (False, True):
        with pytest.raises(UnwritableError, match=r"cannot be written \(Not a directory\)"):
            check_request(replace(request_of_run, out=tmp_path / "file" / "run", resume=resume))


def test_a_run_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(TrainUsageError, match=r"--resume .*none: no such folder: give"):
        command.make_context("deepmask-train", ["--resume", str(tmp_path / "none")])
