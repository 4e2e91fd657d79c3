"""Training: it learns, it resumes exactly, batches depend on seed and step alone."""

from __future__ import annotations

import csv
import math
from dataclasses import replace

import pytest
import torch

from deepmask.coco.reader import read_coco
from deepmask.networks.deepmask import DeepMaskNetwork
from deepmask.networks.families import FAMILIES
from deepmask.networks.patches.batches import ScoredPatchBatches, augment
from deepmask.networks.patches.crops import Cropper
from deepmask.networks.patches.sampling import Sampler
from deepmask.networks.presets import PRESETS
from deepmask.train.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from deepmask.train.device import Hardware
from deepmask.train.log import Log, columns
from deepmask.train.loop import BEST, LAST, LOG, Schedule, run_loop
from deepmask.train.optimise import learning_rate
from deepmask.train.prefetch import prefetch
from deepmask.train.recall import DECIDING, RECALLS
from deepmask.train.trainer import Trainer
from deepmask.train.validate import validate

CPU = Hardware(torch.device("cpu"), bf16=False)


@pytest.fixture
def maker(drawn, tiny_model, tiny_recipe):
    def make(recipe=tiny_recipe, seed=0):
        found = read_coco(*drawn)
        sampler = Sampler(found, [], tiny_model, recipe)
        return ScoredPatchBatches(sampler, Cropper(10**8), tiny_model, recipe, seed)

    return make


def fresh(tiny_model, recipe) -> Trainer:
    torch.manual_seed(0)
    return Trainer(DeepMaskNetwork(tiny_model), recipe, 0, CPU)


def run(trainer, maker, out) -> None:
    out.mkdir(exist_ok=True)
    run_loop(trainer, maker, [], out, threads=2, schedule=Schedule(log_every=2, save_seconds=1e9))


def losses_of(trainer, batch) -> tuple[float, ...]:
    trainer.train_step(batch)
    return tuple(trainer.mean_losses().values())


def same(first, second) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def test_interrupted_run_equals_an_uninterrupted_one(tmp_path, maker, tiny_model, tiny_recipe):
    whole = fresh(tiny_model, tiny_recipe)
    run(whole, maker(), tmp_path / "whole")

    half = fresh(tiny_model, tiny_recipe)
    for batch in prefetch(maker(), range(3), 1, 2):
        half.train_step(batch)
    (tmp_path / "half").mkdir()
    save_checkpoint(half.checkpoint(), tmp_path / "half" / LAST)
    torch.manual_seed(99)  # another process has another random state
    resumed = Trainer(DeepMaskNetwork(tiny_model), tiny_recipe, 0, CPU)
    torch.rand(5)
    resumed.resume(load_checkpoint(tmp_path / "half" / LAST))
    assert resumed.step == 3
    run(resumed, maker(), tmp_path / "half")

    assert same(whole.model.state_dict(), resumed.model.state_dict())
    assert same(whole.weights(), resumed.weights())
    finished = load_checkpoint(tmp_path / "half" / LAST)
    assert finished.training["step"] == tiny_recipe.steps
    assert same(finished.weights, whole.weights())


def test_resume_refuses_another_recipe_by_name(maker, tiny_model, tiny_recipe):
    checkpoint = fresh(tiny_model, tiny_recipe).checkpoint()
    other = fresh(tiny_model, replace(tiny_recipe, lr=0.5))
    with pytest.raises(CheckpointError, match=r"lr was 0\.0006, is 0\.5"):
        other.resume(checkpoint)


def test_the_best_checkpoint_is_that_of_the_highest_recall(
    tmp_path, maker, tiny_model, tiny_recipe, monkeypatch
):
    """Steps 1 … 6 measure these; the run stops after 4 and goes on from its log."""
    figures = iter([0.1, 0.3, math.nan, 0.2, 0.25, 0.4])
    monkeypatch.setattr(
        "deepmask.train.loop.measure_recall",
        lambda *_: {**dict.fromkeys(RECALLS, 0.0), DECIDING: next(figures)},
    )
    kept = []
    for steps in (4, 5, 6):
        trainer = fresh(tiny_model, replace(tiny_recipe, steps=steps))
        if steps > 4:
            trainer.resume(load_checkpoint(tmp_path / LAST))
        schedule = Schedule(log_every=10, recall_every=1)
        run_loop(trainer, maker(), [], tmp_path, 1, schedule, images=["any"])
        kept.append(load_checkpoint(tmp_path / BEST).training["step"])
    assert kept == [2, 2, 6]
    with (tmp_path / LOG).open() as file:
        rows = list(csv.DictReader(file))
    assert [row[DECIDING] for row in rows] == ["0.1", "0.3", "nan", "0.2", "0.25", "0.4"]


def test_a_log_of_before_recall_was_measured_is_continued(tmp_path):
    (tmp_path / LOG).write_text("step,mask_loss,val_mask_iou\n2,0.5,0.7\n4,0.4,\n6,0.3,\n")
    log = Log(tmp_path / LOG, 4, columns(FAMILIES["deepmask"], ("mask", "score")))
    assert log.highest("val_mask_iou") == 0.7
    assert log.highest(DECIDING) == -math.inf
    log.write({"step": 5, DECIDING: 0.25})
    with (tmp_path / LOG).open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["step"], row["mask_loss"], row[DECIDING]) for row in rows] == [
        ("2", "0.5", ""),
        ("4", "0.4", ""),
        ("5", "", "0.25"),
    ]


def test_log_has_a_row_for_each_report(tmp_path, maker, tiny_model, tiny_recipe):
    run(fresh(tiny_model, tiny_recipe), maker(), tmp_path / "run")
    with (tmp_path / "run" / LOG).open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [2, 4, 6]
    assert all(math.isfinite(float(row["mask_loss"])) for row in rows)


def test_one_batch_is_learnt_by_heart(maker, tiny_model, tiny_recipe):
    recipe = replace(tiny_recipe, steps=100, lr=3e-3, trunk_lr=1.0, freeze_stem=False)
    trainer = fresh(tiny_model, recipe)
    for module in trainer.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    batch = maker(recipe)(0)
    losses = [losses_of(trainer, batch) for _ in range(100)]
    assert losses[-1][0] < 0.5 * losses[0][0]
    assert losses[-1][1] < 0.5 * losses[0][1]


def test_non_finite_loss_stops_training(maker, tiny_model, tiny_recipe):
    trainer = fresh(tiny_model, tiny_recipe)
    with torch.no_grad():
        trainer.model.mask_head.classify.bias.fill_(math.nan)
    with pytest.raises(FloatingPointError, match="at step 0: lower --lr"):
        trainer.train_step(maker()(0))


def test_losses_fetched_late_still_stop_training_before_anything_is_saved(
    tmp_path, maker, tiny_model, tiny_recipe, monkeypatch
):
    """As on a GPU, whose losses are not waited for."""
    monkeypatch.setattr("deepmask.train.trainer.LATE", ("cpu",))
    trainer = fresh(tiny_model, tiny_recipe)
    step = trainer.train_step

    def spoil_the_third(batch):
        if trainer.step == 2:
            with torch.no_grad():
                trainer.model.mask_head.classify.bias.fill_(math.nan)
        step(batch)

    monkeypatch.setattr(trainer, "train_step", spoil_the_third)
    schedule = Schedule(log_every=100, save_seconds=1e9)
    (tmp_path / LAST).write_text("of before")
    with pytest.raises(FloatingPointError, match="the loss is nan at step 2: lower --lr"):
        run_loop(trainer, maker(), [], tmp_path, 1, schedule)
    assert trainer.step == tiny_recipe.steps
    assert (tmp_path / LAST).read_text() == "of before"
    with pytest.raises(FloatingPointError):
        trainer.checkpoint()


def test_mean_losses_do_not_depend_on_when_they_are_fetched(
    maker, tiny_model, tiny_recipe, monkeypatch
):
    recipe = replace(tiny_recipe, alternate=True)
    means = []
    for late in ((), ("cpu",)):
        monkeypatch.setattr("deepmask.train.trainer.LATE", late)
        trainer = fresh(tiny_model, recipe)
        for step in range(3):
            trainer.train_step(maker(recipe)(step))
        means.append(trainer.mean_losses())
        assert all(map(math.isnan, trainer.mean_losses().values()))
    assert means[0] == means[1]
    assert set(means[0]) == {"mask", "score"}
    assert all(map(math.isfinite, means[0].values()))


def test_weights_that_are_not_finite_are_not_saved(maker, tiny_model, tiny_recipe):
    trainer = fresh(tiny_model, tiny_recipe)
    trainer.train_step(maker()(0))
    with torch.no_grad():
        trainer.model.score_head.classify.bias.fill_(math.inf)
    with pytest.raises(FloatingPointError, match="not finite after step 0: lower --lr"):
        trainer.checkpoint()


def test_alternating_batches_train_one_branch_each(maker, tiny_model, tiny_recipe):
    recipe = replace(tiny_recipe, alternate=True)
    make = maker(recipe)
    mask_batch, score_batch = make(0), make(1)
    assert len(mask_batch.masks) == len(mask_batch.patches) == recipe.batch
    assert mask_batch.labels.isnan().all()
    assert len(score_batch.masks) == 0
    assert score_batch.labels.tolist() == [1.0] * 5 + [0.0] * 3
    trainer = fresh(tiny_model, recipe)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    mask_loss, score_loss = losses_of(trainer, mask_batch)
    assert math.isfinite(mask_loss)
    assert math.isnan(score_loss)
    after = trainer.model.state_dict()
    assert torch.equal(before["score_head.classify.weight"], after["score_head.classify.weight"])
    assert not torch.equal(before["mask_head.classify.weight"], after["mask_head.classify.weight"])


def test_frozen_stem_and_batch_statistics_do_not_move(maker, tiny_model, tiny_recipe):
    trainer = fresh(tiny_model, tiny_recipe)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    for step in range(2):
        trainer.train_step(maker()(step))
    after = trainer.model.state_dict()
    still = [n for n in before if n.startswith(("trunk.conv1", "trunk.layer1")) or "running" in n]
    assert all(torch.equal(before[name], after[name]) for name in still)
    assert not torch.equal(
        before["trunk.layer2.0.conv1.weight"], after["trunk.layer2.0.conv1.weight"]
    )


def test_batches_depend_on_seed_and_step_only(maker):
    first, again = maker()(5), maker()(5)
    assert torch.equal(first.patches, again.patches)
    assert torch.equal(first.masks, again.masks)
    assert not torch.equal(first.patches, maker(seed=1)(5).patches)
    ordered = list(prefetch(maker(), range(3, 7), threads=3, ahead=3))
    assert all(
        torch.equal(b.patches, maker()(k).patches)
        for k, b in zip(range(3, 7), ordered, strict=True)
    )


def test_a_pinned_batch_is_the_same_batch(maker, monkeypatch):
    """With a stand-in for page-locked memory, which only a machine with a GPU has."""
    pinned = []

    def pin_memory(tensor):
        pinned.append(tensor.clone())
        return pinned[-1]

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin_memory)
    batch = maker()(0)
    copy = batch.pinned()
    assert copy.counts == batch.counts
    for name in ("patches", "masks", "labels", "colours"):
        assert any(getattr(copy, name) is tensor for tensor in pinned)
        torch.testing.assert_close(getattr(copy, name), getattr(batch, name), equal_nan=True)


def test_colour_changes_keep_range_and_identity():
    patches = 255 * torch.rand(3, 3, 8, 8)
    same_colours = augment(patches, torch.tensor([[0.0, 1.0, 1.0]] * 3))
    torch.testing.assert_close(same_colours, patches, atol=1e-3, rtol=0)
    gray = augment(patches, torch.tensor([[0.0, 1.0, 0.0]] * 3))
    torch.testing.assert_close(gray[:, 0], gray[:, 2])
    loud = augment(patches, torch.tensor([[90.0, 3.0, 2.0]] * 3))
    assert loud.min() >= 0
    assert loud.max() <= 255


def test_learning_rate_warms_up_and_falls_to_zero():
    recipe = PRESETS["deepmask-r18"].recipe
    assert learning_rate(0, recipe) == pytest.approx(recipe.lr / recipe.warmup)
    assert learning_rate(recipe.steps - 1, recipe) < 1e-3 * recipe.lr
    assert learning_rate(10**5, PRESETS["deepmask-vgg-a"].recipe) == 0.001


def test_validation_of_a_perfect_network_is_one(maker, tiny_model, tiny_recipe):
    """A network that answers with the truth itself measures IoU 1 and accuracy 1."""
    batch = maker()(0)

    class Oracle(DeepMaskNetwork):
        def forward(self, patches):
            scores = batch.labels.nan_to_num(1.0) * 2 - 1
            masks = torch.zeros(len(patches), 28, 28)
            masks[: len(batch.masks)] = batch.masks.float() * 2 - 1
            return masks, scores

    quality = validate(Oracle(tiny_model), [batch], CPU)
    assert quality == {"mask_iou": 1, "score_accuracy": 1}


def test_paper_recipe_is_the_papers():
    recipe = PRESETS["deepmask-vgg-a"].recipe
    assert (recipe.batch, recipe.lr, recipe.momentum, recipe.weight_decay) == (32, 1e-3, 0.9, 5e-5)
    assert recipe.score_weight == 1 / 32
    assert recipe.sum_loss
    assert (recipe.jitter_shift, recipe.jitter_octaves) == (16, 0.25)
    assert (recipe.negative_shift, recipe.negative_octaves) == (32, 1)
    assert recipe.alternate
    assert recipe.optimiser == "sgd"
    assert PRESETS["deepmask-vgg-a"].config.object_size == 128


def test_summed_loss_moves_sgd_by_the_batch_size_times_the_mean(maker, tiny_model, tiny_recipe):
    """Plain SGD's first step is proportional to the gradient."""
    plain = replace(
        tiny_recipe, optimiser="sgd", momentum=0.0, weight_decay=0.0, clip=0.0, lr=1e-3, average=0.0
    )
    moves = []
    for sum_loss in (False, True):
        trainer = fresh(tiny_model, replace(plain, sum_loss=sum_loss))
        before = trainer.model.mask_head.classify.weight.detach().clone()
        trainer.train_step(maker()(0))
        moves.append(trainer.model.mask_head.classify.weight.detach() - before)
    torch.testing.assert_close(moves[1], plain.batch * moves[0], rtol=1e-2, atol=1e-7)
