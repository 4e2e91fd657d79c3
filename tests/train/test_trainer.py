"""Steps of training: what they learn, what they refuse, and what they leave as it was."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from deepmask.networks.patches.recipe import DeepMaskRecipe
from tests.train.small import Fresh, Maker, losses_of


def test_one_batch_is_learnt_by_heart(
    maker: Maker, fresh: Fresh, tiny_recipe: DeepMaskRecipe
) -> None:
    recipe = replace(tiny_recipe, steps=100, lr=3e-3, trunk_lr=1.0, freeze_stem=False)
    trainer = fresh(recipe)
    for module in trainer.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    batch = maker(recipe)(0)
    losses = [losses_of(trainer, batch) for _ in range(100)]
    assert losses[-1][0] < 0.5 * losses[0][0]
    assert losses[-1][1] < 0.5 * losses[0][1]


def test_non_finite_loss_stops_training(maker: Maker, fresh: Fresh) -> None:
    trainer = fresh()
    with torch.no_grad():
        trainer.model.mask_head.classify.bias.fill_(math.nan)
    with pytest.raises(FloatingPointError, match="at step 0: lower --lr"):
        trainer.train_step(maker()(0))


def test_mean_losses_do_not_depend_on_when_they_are_fetched(
    maker: Maker, fresh: Fresh, tiny_recipe: DeepMaskRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(tiny_recipe, alternate=True)
    means = []
    for late in ((), ("cpu",)):
        monkeypatch.setattr("deepmask.train.trainer.LATE", late)
        trainer = fresh(recipe)
        for step in range(3):
            trainer.train_step(maker(recipe)(step))
        means.append(trainer.mean_losses())
        assert all(map(math.isnan, trainer.mean_losses().values()))
    assert means[0] == means[1]
    assert set(means[0]) == {"mask", "score"}
    assert all(map(math.isfinite, means[0].values()))


def test_weights_that_are_not_finite_are_not_saved(maker: Maker, fresh: Fresh) -> None:
    trainer = fresh()
    trainer.train_step(maker()(0))
    with torch.no_grad():
        trainer.model.score_head.classify.bias.fill_(math.inf)
    with pytest.raises(FloatingPointError, match="not finite after step 0: lower --lr"):
        trainer.checkpoint()


def test_alternating_batches_train_one_branch_each(
    maker: Maker, fresh: Fresh, tiny_recipe: DeepMaskRecipe
) -> None:
    recipe = replace(tiny_recipe, alternate=True)
    make = maker(recipe)
    mask_batch, score_batch = make(0), make(1)
    assert len(mask_batch.masks) == len(mask_batch.patches) == recipe.batch
    assert mask_batch.labels.isnan().all()
    assert len(score_batch.masks) == 0
    assert score_batch.labels.tolist() == [1.0] * 5 + [0.0] * 3
    trainer = fresh(recipe)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    mask_loss, score_loss = losses_of(trainer, mask_batch)
    assert math.isfinite(mask_loss)
    assert math.isnan(score_loss)
    after = trainer.model.state_dict()
    assert torch.equal(before["score_head.classify.weight"], after["score_head.classify.weight"])
    assert not torch.equal(before["mask_head.classify.weight"], after["mask_head.classify.weight"])


def test_frozen_stem_and_batch_statistics_do_not_move(maker: Maker, fresh: Fresh) -> None:
    trainer = fresh()
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    for step in range(2):
        trainer.train_step(maker()(step))
    after = trainer.model.state_dict()
    still = [n for n in before if n.startswith(("trunk.conv1", "trunk.layer1")) or "running" in n]
    assert all(torch.equal(before[name], after[name]) for name in still)
    assert not torch.equal(
        before["trunk.layer2.0.conv1.weight"], after["trunk.layer2.0.conv1.weight"]
    )


def test_summed_loss_moves_sgd_by_the_batch_size_times_the_mean(
    maker: Maker, fresh: Fresh, tiny_recipe: DeepMaskRecipe
) -> None:
    """Plain SGD's first step is proportional to the gradient."""
    plain = replace(
        tiny_recipe, optimiser="sgd", momentum=0.0, weight_decay=0.0, clip=0.0, lr=1e-3, average=0.0
    )
    moves = []
    for sum_loss in (False, True):
        trainer = fresh(replace(plain, sum_loss=sum_loss))
        before = trainer.model.mask_head.classify.weight.detach().clone()
        trainer.train_step(maker()(0))
        moves.append(trainer.model.mask_head.classify.weight.detach() - before)
    torch.testing.assert_close(moves[1], plain.batch * moves[0], rtol=1e-2, atol=1e-7)
