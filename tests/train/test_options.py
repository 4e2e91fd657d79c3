"""The options of `deepmask-train`: those that every preset has, and those of its recipe."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, fields, replace
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from deepmask.networks.presets import PRESETS, STUDIED, USED
from deepmask.networks.recipe import Recipe, knob
from deepmask.runtime.io.outputs import RefusedError
from deepmask.train.cli import command, given_recipe
from deepmask.train.cli_options import chosen_preset, given_value, recipe_options
from tests.networks.patch_presets import PATCH_PRESETS

DATA = ["--train-annotations", "a.json", "--train-images", "images"]


def parsed(*arguments: str) -> Recipe:
    context = command.make_context("deepmask-train", [*DATA, *arguments])
    return given_recipe(dict(context.params))


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_trained_by_its_own_recipe_unless_told_otherwise(name: str) -> None:
    assert parsed("--preset", name) == PRESETS[name].recipe
    changed = parsed("--steps", "7", f"--preset={name}", "--lr", "0.25")
    assert changed == replace(PRESETS[name].recipe, steps=7, lr=0.25)


@pytest.mark.parametrize("name", PATCH_PRESETS)
def test_a_setting_that_is_on_can_be_turned_off(name: str) -> None:
    changed = parsed("--preset", name, "--no-sum-loss")
    assert changed == replace(PRESETS[name].recipe, sum_loss=False)


@pytest.mark.parametrize("name", PRESETS)
def test_help_shows_the_values_of_the_preset(name: str) -> None:
    result = CliRunner().invoke(command, ["--preset", name, "-h"], terminal_width=100)
    assert result.exit_code == 0
    # Lines are also broken at hyphens.
    text = " ".join(result.output.split()).replace("- ", "-")
    for option in ("resume", "check-data", *(item.name for item in fields(PRESETS[name].recipe))):
        assert f"--{option.replace('_', '-')}" in text
    assert re.search(rf"\[default: {PRESETS[name].recipe.steps}[;\]]", text)
    assert "--show-preset NAME prints" in text


@pytest.mark.parametrize("name", PRESETS)
def test_no_setting_has_the_name_of_another_option(name: str) -> None:
    """One would take the value of the other."""
    own = {str(one.name) for one in command.params}
    assert not own & {item.name for item in fields(PRESETS[name].recipe)}


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_shown_whole(name: str) -> None:
    result = CliRunner().invoke(command, ["--show-preset", name])
    assert result.exit_code == 0
    assert result.output == PRESETS[name].table() + "\n"
    rows = dict(line.split(None, 1) for line in result.output.splitlines() if line[0] == " ")
    for key, value in PRESETS[name].config.to_dict().items():
        shown = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
        shown = f"{value:g}" if isinstance(value, float) else shown or "(none)"
        shown = {True: "yes", False: "no"}[value] if isinstance(value, bool) else shown
        assert rows[key] == shown
    assert rows["--steps"] == str(PRESETS[name].recipe.steps)
    assert float(rows["--lr"]) == PRESETS[name].recipe.lr
    assert len(rows) == len(PRESETS[name].config.to_dict()) + len(fields(PRESETS[name].recipe))


@pytest.mark.parametrize("flag", ["--negatives=3", "--alternate", "--no-freeze-stem"])
def test_a_setting_of_another_recipe_is_told_to_have_no_effect(flag: str) -> None:
    option = flag.split("=")[0]
    with pytest.raises(click.UsageError, match=f"{option} has no effect on sharpmask-r18: leave"):
        parsed("--preset", "sharpmask-r18", flag)
    with pytest.raises(click.NoSuchOption):
        parsed("--no-such-thing")


def test_an_unknown_preset_is_named() -> None:
    assert chosen_preset(["--preset", "nothing"]) == "fpn-lite"
    assert chosen_preset(["--preset"]) == "fpn-lite"
    with pytest.raises(click.UsageError, match="'nothing' is not one of '") as told:
        parsed("--preset", "nothing")
    to_use, _, of_a_study = told.value.message.partition("; nor a row of the thesis' tables: ")
    assert all(name in to_use for name in USED)
    assert all(name in of_a_study for name in STUDIED)


def test_the_last_value_of_an_option_counts() -> None:
    arguments = ["--resume", "a", "--out=b", "--resume=c", "--steps", "3", "--last"]
    values = [given_value(arguments, flag) for flag in ("--resume", "--out", "--last", "--none")]
    assert values == ["c", "b", "", None]
    assert given_value(["--resume", "--out", "b"], "--resume") == ""


@dataclass(frozen=True)
class CountRecipe(Recipe):
    counted: str = knob("sheep", "What is counted.")


def test_a_recipe_of_its_own_has_its_options() -> None:
    options = {one.name: one for one in recipe_options(CountRecipe(steps=9))}
    assert list(options) == [item.name for item in fields(CountRecipe)]
    assert (options["counted"].default, options["counted"].help) == ("sheep", "What is counted.")
    assert (options["steps"].default, options["steps"].type) == (9, click.INT)


def test_labels_are_not_written_over(drawn: tuple[Path, Path], tmp_path: Path) -> None:
    labels, images = drawn
    mine = tmp_path / "mine.json"
    mine.write_bytes(labels.read_bytes())
    line = ["--check-data", "--train-annotations", str(labels), "--train-images", str(images)]
    before = mine.read_bytes()
    refused = CliRunner().invoke(command, [*line, "--as-coco", str(mine)])
    assert isinstance(refused.exception, RefusedError)
    assert str(refused.exception).startswith(f"--as-coco {mine}: exists and was not made by")
    assert mine.read_bytes() == before
    new = tmp_path / "new.json"
    for _ in range(2):
        assert CliRunner().invoke(command, [*line, "--as-coco", str(new)]).exit_code == 0
    line[2] = str(new)
    refused = CliRunner().invoke(command, [*line, "--as-coco", str(new)])
    assert str(refused.exception).startswith(f"--as-coco {new}: is an input")
    assert len(json.loads(new.read_text())["annotations"]) == 18
