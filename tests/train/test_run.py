"""Training from Python: a request in, a result or one line out, for any family."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from deepmask.networks.families import FAMILIES
from deepmask.networks.family import TrainingData, Validation
from deepmask.networks.presets import PRESETS, Preset
from deepmask.networks.recipe import Recipe
from deepmask.runtime.errors import OneLineError
from deepmask.train.checkpoint import load_checkpoint
from deepmask.train.data import DataFiles
from deepmask.train.errors import TrainUsageError
from deepmask.train.loop import Schedule
from deepmask.train.run import Request, train
from tests.networks import toy
from tests.train.small import same

Drawn = tuple[Path, Path]
#: The toy, and a measurement while it is trained.
MEASURED = replace(
    toy.TOY,
    validation=Validation(
        ("score",),
        lambda found, config, recipe, count: [
            toy.toy_batches(TrainingData(found), config, replace(recipe, batch=count))(0)
        ],
        lambda network, batches: {
            "score": max(toy.toy_losses(network, batch)["score"].item() for batch in batches)
        },
    ),
)


@pytest.fixture
def request_of(drawn: Drawn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Request:
    """A run of two steps of a family that only this test knows."""
    recipe = toy.ToyRecipe(steps=2, batch=4, optimiser="adamw", average=0.9)
    monkeypatch.setitem(FAMILIES, "toy", MEASURED)
    monkeypatch.setitem(PRESETS, "toy-64", Preset("toy", toy.ToyConfig(), recipe))
    return Request(
        preset="toy-64",
        data=DataFiles(*drawn, val_annotations=drawn[0], val_images=drawn[1]),
        out=tmp_path / "run",
        init="random",
        device="cpu",
        precision="fp32",
        val_samples=3,
        schedule=Schedule(log_every=1, validate_every=1, recall_every=0),
    )


def longer(steps: int) -> Recipe:
    recipe: Recipe = replace(PRESETS["toy-64"].recipe, steps=steps)
    return recipe


def test_a_family_of_its_own_trains_and_resumes(request_of: Request) -> None:
    lines: list[str] = []
    result = train(request_of, lines.append)
    assert (result.step, result.stopped) == (2, 0)
    assert lines[1].startswith("step 1/2  score ")
    assert "pictures/s | val score" in lines[1]
    checkpoint = load_checkpoint(result.last)
    assert (checkpoint.family, checkpoint.model) == ("toy", toy.ToyConfig())
    assert isinstance(checkpoint.build(), toy.ToyNetwork)
    resumed = train(replace(request_of, resume=True, init=None, recipe=longer(4)))
    whole = train(replace(request_of, out=request_of.out.parent / "whole", recipe=longer(4)))
    assert same(load_checkpoint(resumed.last).weights, load_checkpoint(whole.last).weights)
    with (request_of.out / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[:7] == [
        *("step", "seconds", "pictures_per_second", "learning_rate"),
        *("score_loss", "mask_loss", "val_score"),
    ]
    assert [row["step"] for row in rows] == ["1", "2", "3", "4"]


def test_a_recipe_of_its_own_is_checked_on_resuming(request_of: Request) -> None:
    train(request_of)
    other = replace(longer(3), mask_weight=0.5)  # type: ignore[call-arg]
    with pytest.raises(Exception, match=r"mask_weight was 1\.0, is 0\.5"):
        train(replace(request_of, resume=True, recipe=other))


@dataclass(frozen=True)
class TwinConfig(toy.ToyConfig):
    """The same values, of another family."""


def test_a_run_is_not_resumed_by_another_family(
    request_of: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(request_of)
    monkeypatch.setitem(FAMILIES, "twin", replace(toy.TOY, config=TwinConfig))
    preset = Preset("twin", TwinConfig(), PRESETS["toy-64"].recipe)
    monkeypatch.setitem(PRESETS, "twin-4", preset)
    with pytest.raises(Exception, match="family was toy, is twin"):
        train(replace(request_of, preset="twin-4", val_samples=512, resume=True, init=None))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"preset": "toy-65"}, "--preset toy-65 is not known; there are "),
        ({"init": None}, "--init is missing"),
        ({"base": Path("x.pt")}, r"--init random and --from x\.pt are two starts: give one"),
        ({"device": "tpu"}, "device is 'tpu'"),
    ],
)
def test_wrong_requests_are_told_apart_from_failures(
    request_of: Request, change: Mapping[str, object], text: str
) -> None:
    with pytest.raises(TrainUsageError, match=text):
        train(replace(request_of, **change))  # type: ignore[arg-type]
    assert not request_of.out.exists()


def test_measuring_more_is_refused_where_nothing_is_measured(
    request_of: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FAMILIES, "toy", toy.TOY)
    with pytest.raises(TrainUsageError, match="--val-patches has no effect on toy-64: leave it"):
        train(request_of)


def test_a_network_without_a_trunk_starts_from_random_weights_only(request_of: Request) -> None:
    with pytest.raises(Exception, match=r"no trunk for the weights of w\.pth: give random"):
        train(replace(request_of, init="w.pth"))


def test_a_loss_without_a_weight_is_named(
    request_of: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FAMILIES, "toy", replace(MEASURED, loss_weights=lambda r: {"score": 1}))
    with pytest.raises(KeyError, match="mask"):
        train(request_of)


def test_a_second_run_does_not_overwrite_the_first(request_of: Request) -> None:
    train(request_of)
    with pytest.raises(TrainUsageError, match=r"last\.pt exists: continue with --resume"):
        train(request_of)


def test_failed_work_is_one_line(request_of: Request) -> None:
    request_of.out.mkdir()
    (request_of.out / "log.csv").mkdir()
    with pytest.raises(OneLineError, match=r"log\.csv: is a folder") as caught:
        train(request_of)
    assert "\n" not in str(caught.value)
