"""Training from Python: a request in, a result or one line out, for any family."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from deepmask.networks.config import NetworkConfig
from deepmask.networks.dense.graphs import DenseModel, Description
from deepmask.networks.families import FAMILIES
from deepmask.networks.family import Family, TensorBatch, TrainingData, Validation
from deepmask.networks.network import Network
from deepmask.networks.presets import PRESETS, Preset
from deepmask.networks.recipe import Recipe, knob
from deepmask.train.checkpoint import load_checkpoint
from deepmask.train.data import DataFiles
from deepmask.train.errors import TrainError, TrainUsageError
from deepmask.train.loop import Schedule
from deepmask.train.run import Request, train
from tests.train.small import same

Drawn = tuple[Path, Path]


@dataclass(frozen=True)
class BrightConfig(NetworkConfig):
    width: int


@dataclass(frozen=True)
class BrightRecipe(Recipe):
    noise: float = knob(0.1, "Deviation of the colours.")


@dataclass(frozen=True)
class BrightBatch(TensorBatch):
    colours: Tensor
    objects: int


class BrightNetwork(Network):
    """How bright a colour is: nothing of patches, masks or scores."""

    config: BrightConfig

    def __init__(self, config: BrightConfig) -> None:
        super().__init__()
        self.config = config
        self.layers = nn.Sequential(nn.Linear(3, config.width), nn.Linear(config.width, 1))

    def forward(self, colours: Tensor) -> Tensor:
        brightness: Tensor = self.layers(colours)
        return brightness.squeeze(1)


def bright_batches(
    data: TrainingData, config: BrightConfig, recipe: BrightRecipe
) -> Callable[[int], BrightBatch]:
    def batch(step: int) -> BrightBatch:
        random = torch.Generator().manual_seed(1000 * data.seed + step)
        colours = torch.rand((recipe.batch, 3), generator=random)
        return BrightBatch(colours[data.rank :: data.size], len(data.labelled.instances))

    return batch


def bright_losses(network: BrightNetwork, batch: BrightBatch) -> Mapping[str, Tensor]:
    error = network(batch.colours).float() - batch.colours.mean(1)
    return {"square": error.square().mean(), "size": next(network.parameters()).square().mean()}


def no_graphs(network: BrightNetwork) -> DenseModel:
    raise NotImplementedError("nothing of this family is exported")


def nothing_to_tell(config: BrightConfig) -> Description:
    raise NotImplementedError("nothing of this family is exported")


BRIGHT = Family(
    config=BrightConfig,
    recipe=BrightRecipe,
    units="colours",
    build=BrightNetwork,
    batches=bright_batches,
    loss_weights=lambda recipe: {"square": 1.0, "size": 0.1},
    losses=bright_losses,
    dense=no_graphs,
    describe=nothing_to_tell,
    validation=Validation(
        ("error",),
        lambda labelled, config, recipe, count: [BrightBatch(torch.ones(count, 3), 0)],
        lambda network, batches: {
            "error": max(float((network(b.colours) - 1).abs().max()) for b in batches)
        },
    ),
)


@pytest.fixture
def request_of(drawn: Drawn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Request:
    """A run of two steps of a family that only this test knows."""
    recipe = BrightRecipe(steps=2, batch=4, optimiser="adamw", average=0.9)
    monkeypatch.setitem(FAMILIES, "bright", BRIGHT)
    monkeypatch.setitem(PRESETS, "bright-4", Preset("bright", BrightConfig(4), recipe))
    return Request(
        preset="bright-4",
        data=DataFiles(*drawn, val_annotations=drawn[0], val_images=drawn[1]),
        out=tmp_path / "run",
        init="random",
        device="cpu",
        precision="fp32",
        val_samples=3,
        schedule=Schedule(log_every=1, validate_every=1, recall_every=0),
    )


def longer(steps: int) -> Recipe:
    recipe: Recipe = replace(PRESETS["bright-4"].recipe, steps=steps)
    return recipe


def test_a_family_of_its_own_trains_and_resumes(request_of: Request) -> None:
    lines: list[str] = []
    result = train(request_of, lines.append)
    assert (result.step, result.stopped) == (2, 0)
    assert lines[1].startswith("step 1/2  square ")
    assert "colours/s | val error" in lines[1]
    checkpoint = load_checkpoint(result.last)
    assert (checkpoint.family, checkpoint.model) == ("bright", BrightConfig(4))
    assert isinstance(checkpoint.build(), BrightNetwork)
    resumed = train(replace(request_of, resume=True, init=None, recipe=longer(4)))
    whole = train(replace(request_of, out=request_of.out.parent / "whole", recipe=longer(4)))
    assert same(load_checkpoint(resumed.last).weights, load_checkpoint(whole.last).weights)
    with (request_of.out / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[:7] == [
        *("step", "seconds", "colours_per_second", "learning_rate"),
        *("square_loss", "size_loss", "val_error"),
    ]
    assert [row["step"] for row in rows] == ["1", "2", "3", "4"]


def test_a_recipe_of_its_own_is_checked_on_resuming(request_of: Request) -> None:
    train(request_of)
    noisy = replace(longer(3), noise=0.5)  # type: ignore[call-arg]
    with pytest.raises(Exception, match=r"noise was 0\.1, is 0\.5"):
        train(replace(request_of, resume=True, recipe=noisy))


@dataclass(frozen=True)
class TwinConfig(BrightConfig):
    """The same values, of another family."""


def test_a_run_is_not_resumed_by_another_family(
    request_of: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(request_of)
    monkeypatch.setitem(FAMILIES, "twin", replace(BRIGHT, config=TwinConfig))
    preset = Preset("twin", TwinConfig(4), PRESETS["bright-4"].recipe)
    monkeypatch.setitem(PRESETS, "twin-4", preset)
    with pytest.raises(Exception, match="family was bright, is twin"):
        train(replace(request_of, preset="twin-4", resume=True, init=None))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"preset": "bright-5"}, "--preset bright-5 is not known; there are deepmask-r18"),
        ({"init": None}, "--init is missing"),
        ({"base": Path("x.pt")}, "--from is for the presets that refine"),
        ({"device": "tpu"}, "device is 'tpu'"),
    ],
)
def test_wrong_requests_are_told_apart_from_failures(
    request_of: Request, change: Mapping[str, object], text: str
) -> None:
    with pytest.raises(TrainUsageError, match=text):
        train(replace(request_of, **change))  # type: ignore[arg-type]
    assert not request_of.out.exists()


def test_a_network_without_a_trunk_starts_from_random_weights_only(request_of: Request) -> None:
    with pytest.raises(Exception, match=r"no trunk for the weights of w\.pth: give random"):
        train(replace(request_of, init="w.pth"))


def test_a_loss_without_a_weight_is_named(
    request_of: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FAMILIES, "bright", replace(BRIGHT, loss_weights=lambda r: {"square": 1}))
    with pytest.raises(KeyError, match="size"):
        train(request_of)


def test_a_second_run_does_not_overwrite_the_first(request_of: Request) -> None:
    train(request_of)
    with pytest.raises(TrainUsageError, match=r"last\.pt exists: continue with --resume"):
        train(request_of)


def test_failed_work_is_one_line(request_of: Request) -> None:
    request_of.out.mkdir()
    (request_of.out / "log.csv").mkdir()
    with pytest.raises(TrainError) as caught:
        train(request_of)
    assert "\n" not in str(caught.value)
