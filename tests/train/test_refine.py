"""SharpMask's refinement: its form, its sizes, and what its training leaves as it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from deepmask.coco.reader import read_coco
from deepmask.networks.config import ConfigError
from deepmask.networks.deepmask import DeepMaskNetwork
from deepmask.networks.dense.torch_engine import runnable
from deepmask.networks.patches.batches import PatchBatch, PatchBatches
from deepmask.networks.patches.config import (
    DeepMaskConfig,
    SharpMaskConfig,
    constant_widths,
    halved_widths,
)
from deepmask.networks.patches.crops import Cropper
from deepmask.networks.patches.recipe import SharpMaskRecipe
from deepmask.networks.patches.sampling import Sampler
from deepmask.networks.presets import PRESETS
from deepmask.networks.sharpmask import SharpMaskNetwork, SkipPath, train_refinement
from deepmask.networks.trunks import PADDING_MODES, InitialiseError
from deepmask.runtime.model.manifest import Scales
from deepmask.train.checkpoint import Checkpoint
from deepmask.train.initialise import initialise_from
from deepmask.train.losses import validate
from deepmask.train.trainer import Trainer
from tests.networks.tiny_fpn import TINY as TINY_FPN
from tests.train.small import CPU, same

Maker = Callable[[int], PatchBatch]
REFINED = [name for name, preset in PRESETS.items() if preset.family == "sharpmask"]


@pytest.fixture
def recipe(tiny_sharp_recipe: SharpMaskRecipe) -> SharpMaskRecipe:
    return tiny_sharp_recipe


@pytest.fixture
def make(drawn: tuple[Path, Path], tiny_refined: SharpMaskConfig, recipe: SharpMaskRecipe) -> Maker:
    found = read_coco(*drawn)
    sampler = Sampler(found, [], tiny_refined, recipe)
    return PatchBatches(sampler, Cropper(10**8), tiny_refined, recipe, 0)


@pytest.fixture
def base(tiny_model: DeepMaskConfig) -> Checkpoint:
    torch.manual_seed(3)
    return Checkpoint(tiny_model, DeepMaskNetwork(tiny_model).state_dict(), {})


def trainer_of(config: SharpMaskConfig, base: Checkpoint, recipe: SharpMaskRecipe) -> Trainer:
    torch.manual_seed(0)
    model = SharpMaskNetwork(config)
    initialise_from(model, base)
    return Trainer(model, recipe, 0, CPU)


def test_schedules_are_those_of_the_thesis() -> None:
    assert constant_widths(4) == (32, 32, 32, 32, 32)
    assert halved_widths(4) == (32, 16, 8, 4, 2)
    assert PRESETS["sharpmask"].config.skip_widths == (64, 64, 64, 64)
    assert PRESETS["sharpmask"].config.output_size == PRESETS["sharpmask"].config.patch


@pytest.mark.parametrize("preset", REFINED)
def test_refinement_adds_under_three_million_parameters(preset: str) -> None:
    with torch.device("meta"):
        model = SharpMaskNetwork(PRESETS[preset].config)
    added = sum(parameter.numel() for parameter in model.refine.parameters())
    assert 1e6 < added < 3e6
    with torch.device("meta"):
        coarse = DeepMaskNetwork(PRESETS[preset].config.coarse())
    whole = sum(parameter.numel() for parameter in model.parameters())
    assert whole == added + sum(parameter.numel() for parameter in coarse.parameters())


@pytest.mark.parametrize("padding", PADDING_MODES)
def test_each_module_is_one_convolution_of_mask_and_skip_features(
    tiny_refined: SharpMaskConfig, padding: str
) -> None:
    """Figure 3.7(a), [M, S] in one convolution, is (b), one of each added up."""
    config = replace(tiny_refined, padding=padding, context=48)
    refine = SharpMaskNetwork(config).refine
    for level, (path, join) in enumerate(zip(refine.skips, refine.joins, strict=True)):
        assert isinstance(path, SkipPath)
        assert isinstance(join, torch.nn.Conv2d)
        cells = config.cells << level
        margin = (config.input_size // (config.stride >> level) - cells) // 2
        encoding = torch.randn(2, join.in_channels, cells, cells)
        features = torch.randn(2, path.reduce.in_channels, cells + 2 * margin, cells + 2 * margin)
        inner = slice(margin, margin + cells)
        parts = join(encoding) + path(features)[:, :, inner, inner]

        skip = torch.relu(path.narrow(torch.relu(path.reduce(features))))
        around = slice(margin - 1, margin + cells + 1)  # the picture goes on beyond the window
        mode = "reflect" if padding == "reflect" else "constant"
        both = torch.cat(
            [functional.pad(encoding, (1, 1, 1, 1), mode=mode), skip[:, :, around, around]], dim=1
        )
        weight = torch.cat([join.weight, path.join.weight], dim=1)
        whole = functional.conv2d(both, weight, path.join.bias)
        torch.testing.assert_close(parts, whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"sharp_size": 24}, r"sharp_size is 24, it must be one of \[8, 16, 32, 64\]"),
        ({"sharp_size": 16}, "takes 3 skip widths and 4 refinement widths, not 4 and 5"),
        ({"refine_widths": ()}, "takes 4 skip widths and 5 refinement widths, not 4 and 0"),
        ({"skip_widths": (8, 0, 6, 4)}, "at least 1"),
        ({"refine_widths": (8, 6, 4, 4, 1)}, "at least 2"),
        ({"mask_head": "full", "rank": 0, "score_head": "pooled"}, "code of the low-rank"),
    ],
)
def test_impossible_refinements_say_why(
    tiny_refined: SharpMaskConfig, change: dict[str, Any], text: str
) -> None:
    with pytest.raises(ConfigError, match=text):
        replace(tiny_refined, **change)


@pytest.mark.parametrize(("sharp_size", "widths"), [(8, 3), (16, 4), (32, 5), (64, 5)])
def test_every_size_of_mask_can_be_asked_for(
    tiny_refined: SharpMaskConfig, sharp_size: int, widths: int
) -> None:
    sizes: dict[str, Any] = {"refine_widths": (4,) * widths, "skip_widths": (4,) * (widths - 1)}
    config = replace(tiny_refined, sharp_size=sharp_size, **sizes)
    model = SharpMaskNetwork(config).eval()
    patches = 255 * torch.rand(2, 3, config.input_size, config.input_size)
    masks, scores = model(patches)
    assert masks.shape == (2, sharp_size, sharp_size)
    assert scores.shape == (2,)
    assert model.mask(model.windows(patches)).shape == (2, 14, 14)  # the coarse one stays


def test_the_start_is_the_coarse_mask_interpolated(
    base: Checkpoint, tiny_refined: SharpMaskConfig
) -> None:
    model = SharpMaskNetwork(tiny_refined).eval()
    initialise_from(model, base)
    patches = 255 * torch.rand(2, 3, 96, 96)
    with torch.no_grad():
        coarse = model.mask(model.windows(patches))
        sharp, _ = model(patches)
    expected = functional.interpolate(coarse[:, None], 4, mode="area")
    for _ in range(3):  # up to 8, 16 and 32, with zeros around
        around = functional.pad(expected, (1, 1, 1, 1))
        expected = functional.interpolate(around, scale_factor=2.0, mode="bilinear")
        expected = expected[:, :, 2:-2, 2:-2]
    torch.testing.assert_close(sharp, expected[:, 0], rtol=1e-4, atol=1e-5)


def test_only_the_refinement_learns(
    base: Checkpoint, tiny_refined: SharpMaskConfig, recipe: SharpMaskRecipe, make: Maker
) -> None:
    """All else is byte for byte what it was, in the raw weights and in the running average."""
    trainer = trainer_of(tiny_refined, base, replace(recipe, weight_decay=0.5))
    start = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    for step in range(3):
        trainer.train_step(make(step))
    losses = trainer.mean_losses()
    assert set(losses) == {"mask"}
    assert losses["mask"] > 0
    for state in (trainer.model.state_dict(), trainer.weights()):
        assert same(base.weights, {name: state[name] for name in base.weights})
        learnt = [name for name in state if name not in base.weights]
        assert learnt
        assert not any(torch.equal(start[name], state[name]) for name in learnt)


def test_validation_looks_at_the_sharp_masks(
    tiny_refined: SharpMaskConfig, recipe: SharpMaskRecipe, make: Maker
) -> None:
    """A network whose refinement answers with the truth itself measures IoU 1."""
    model, batch = SharpMaskNetwork(tiny_refined), make(0)
    truth = batch.masks.float() * 2 - 1
    model.refine.forward = lambda code, shared: truth  # type: ignore[method-assign]
    labelled = replace(batch, labels=(torch.arange(6) % 2).float())
    assert validate(model, [labelled], CPU)["mask_iou"] == 1


def test_batches_without_negatives_are_positives_that_train_no_score(
    make: Maker, recipe: SharpMaskRecipe
) -> None:
    for step in range(2):
        batch = make(step)
        assert len(batch.masks) == len(batch.patches) == recipe.batch
        assert batch.labels.isnan().all()
        assert (batch.counts.objects, batch.counts.others) == (0, 0)


def test_another_base_is_refused_and_named(base: Checkpoint, tiny_refined: SharpMaskConfig) -> None:
    other = SharpMaskNetwork(replace(tiny_refined, rank=8, padding="reflect"))
    with pytest.raises(InitialiseError, match="rank is 16, not 8; padding is zero, not reflect"):
        initialise_from(other, base)
    foreign = Checkpoint(TINY_FPN, {}, {})
    text = "family fpn-lite: give one of the family deepmask or sharpmask"
    with pytest.raises(InitialiseError, match=text):
        initialise_from(SharpMaskNetwork(tiny_refined), foreign)


def test_a_refined_network_goes_on_from_one_like_it(tiny_refined: SharpMaskConfig) -> None:
    torch.manual_seed(5)
    trained, new = SharpMaskNetwork(tiny_refined), SharpMaskNetwork(tiny_refined)
    initialise_from(new, Checkpoint(tiny_refined, trained.state_dict(), {}))
    assert same(new.state_dict(), trained.state_dict())


def test_recall_is_measured_on_the_sharp_masks(tiny_refined: SharpMaskConfig) -> None:
    model = SharpMaskNetwork(tiny_refined).eval()
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    with runnable(model, CPU.device) as whole:
        found = whole.windows(image, proposals=4, scales=Scales(0, 0, 1))
        (grid,) = whole.manifest.grids
    assert found.logits.shape == (4, 32, 32)
    assert (grid.window, grid.mask_size) == (64, 32)


def test_nothing_of_a_refined_network_but_its_refinement_is_in_training_mode(
    tiny_refined: SharpMaskConfig, recipe: SharpMaskRecipe
) -> None:
    model = SharpMaskNetwork(tiny_refined)
    train_refinement(model, recipe)
    training = {name.split(".")[0] for name, module in model.named_modules() if module.training}
    assert training == {"refine"}
