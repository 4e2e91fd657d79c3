"""One step of training, and what a checkpoint needs to go on from it."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_

from deepmask.networks.deepmask import DeepMaskNetwork
from deepmask.networks.patches.batches import Batch, Counts, augment
from deepmask.networks.patches.losses import Losses
from deepmask.networks.patches.recipe import BEFORE, Recipe
from deepmask.train.checkpoint import Checkpoint, CheckpointError
from deepmask.train.device import Hardware
from deepmask.train.optimise import (
    Average,
    freeze,
    learning_rate,
    make_optimiser,
    set_learning_rate,
)
from deepmask.train.parallel import ALONE, Team

#: Losses on these devices are fetched so many steps at a time: it takes waiting for all they do.
LATE = ("cuda",)
FETCH_EVERY = 50
_REMEDY = "lower --lr or set --clip"


class Trainer:
    """One model, its optimiser and its place in the recipe."""

    def __init__(
        self,
        model: DeepMaskNetwork,
        recipe: Recipe,
        seed: int,
        hardware: Hardware,
        team: Team = ALONE,
        conditions: Mapping[str, str] | None = None,
    ) -> None:
        """`seed` decides dropout; batches have their own. Every process of `team` makes one.

        `conditions` are kept in checkpoints.
        """
        self.recipe = recipe
        self.seed = seed
        self.hardware = hardware
        self.team = team
        self._conditions = dict(conditions or {})
        self.model = model.to(hardware.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        freeze(self.model, recipe)
        self.optimiser = make_optimiser(self.model, recipe)
        self.average = Average(self.model, recipe.average) if recipe.average else None
        self.step = 0
        self._unread: list[tuple[int, Counts, Tensor]] = []
        self._sums = [(0.0, 0), (0.0, 0)]  # of both losses and of the batches that had them
        losses = Losses(self.model, hardware)
        # A batch need not train both branches, nor a share of it all that the others train.
        self._losses: nn.Module = (
            losses
            if team.size == 1
            else DistributedDataParallel(
                losses, broadcast_buffers=False, find_unused_parameters=True
            )
        )
        self._seed_dropout()

    def train_step(self, batch: Batch) -> None:
        """One update by `batch`, this process's share; `mean_losses` tells how large the loss was.

        Raises FloatingPointError when a loss is not finite: at once on a CPU, within `FETCH_EVERY`
        steps on a GPU, and before anything is saved.
        """
        device = self.hardware.device
        set_learning_rate(self.optimiser, learning_rate(self.step, self.recipe))
        patches, masks, labels, colours = (
            one.to(device, non_blocking=True)
            for one in (batch.patches, batch.masks, batch.labels, batch.colours)
        )
        shares = self._losses(augment(patches.float(), colours), masks, labels, batch.counts)
        losses = self.team.sum(torch.stack(shares).detach())
        self._unread.append((self.step, batch.counts, losses))
        if device.type not in LATE or len(self._unread) == FETCH_EVERY:
            self._fetch_losses()
        self.optimiser.zero_grad(set_to_none=True)
        loss = shares[0] + self.recipe.score_weight * shares[1]
        # The processes' gradients are averaged, but their losses add up: hence the first factor.
        (self.team.size * (self.recipe.batch if self.recipe.sum_loss else 1) * loss).backward()
        if self.recipe.clip:
            clip_grad_norm_(self.model.parameters(), self.recipe.clip)
        self.optimiser.step()
        if self.average:
            self.average.update(self.model, self.step)
        self.step += 1

    def mean_losses(self) -> tuple[float, float]:
        """Mask and score loss of whole batches, means over those since the last call.

        NaN where none of them had that branch. Raises FloatingPointError for one not finite.
        """
        self._fetch_losses()
        mask, score = (total / count if count else math.nan for total, count in self._sums)
        self._sums = [(0.0, 0), (0.0, 0)]
        return mask, score

    def weights(self) -> dict[str, Tensor]:
        """The weights to use: the running average where there is one."""
        state = self.average.state if self.average else self.model.state_dict()
        return {name: value.detach().cpu().clone() for name, value in state.items()}

    def averaged(self) -> DeepMaskNetwork:
        """A copy of the network with `weights()`, on the training device."""
        with torch.random.fork_rng(devices=[]):  # looking at the model must not change training
            model = DeepMaskNetwork(self.model.config)
        model.load_state_dict(self.weights())
        return model.to(self.hardware.device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def checkpoint(self) -> Checkpoint:
        """Everything that resuming needs, with the weights to use beside it.

        Raises FloatingPointError for weights that a loss or an update that is not finite has lost.
        """
        self._fetch_losses()
        if not all(bool(weight.isfinite().all()) for weight in self.model.parameters()):
            raise FloatingPointError(
                f"the weights are not finite after step {self.step - 1}: {_REMEDY}"
            )
        return Checkpoint(
            self.model.config,
            self.weights(),
            {
                "state": self.model.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "step": self.step,
                "seed": self.seed,
                "recipe": self.recipe.to_dict(),
                "conditions": self._conditions,
                "random": torch.get_rng_state(),
                "random_cuda": (
                    torch.cuda.get_rng_state(self.hardware.device)
                    if self.hardware.device.type == "cuda"
                    else None
                ),
                "versions": {
                    "python": platform.python_version(),
                    "torch": str(torch.__version__),
                    "numpy": np.__version__,
                },
            },
        )

    def resume(self, checkpoint: Checkpoint) -> None:
        """Continue where `checkpoint` was written.

        Only the number of steps may differ: a run can be made longer or shorter on the way.
        Raises `CheckpointError` when model, recipe or seed differ otherwise, naming what, and when
        the checkpoint lacks something.
        """
        if "optimiser" not in checkpoint.training:
            raise CheckpointError(
                "the checkpoint was stripped for publishing: it cannot be resumed"
            )
        try:
            self._compare(checkpoint)
            self._restore(checkpoint)
        except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"the checkpoint cannot be resumed, its training state is not whole: {error!r:.150}"
            ) from error

    def _fetch_losses(self) -> None:
        """Wait for the losses of the steps made; raise FloatingPointError for the first not finite.

        They stay unread then: nothing that was learnt since can be saved.
        """
        if not self._unread:
            return
        values = torch.stack([one[2] for one in self._unread]).tolist()
        for (step, counts, _), losses in zip(self._unread, values, strict=True):
            if not all(map(math.isfinite, losses)):
                raise FloatingPointError(f"the loss is {sum(losses)} at step {step}: {_REMEDY}")
            there = (counts.masks > 0, counts.objects + counts.others > 0)
            self._sums = [
                (total + loss * here, count + here)
                for (total, count), loss, here in zip(self._sums, losses, there, strict=True)
            ]
        self._unread = []

    def _compare(self, checkpoint: Checkpoint) -> None:
        training = checkpoint.training
        now: dict[str, Any] = {
            **self.model.config.to_dict(),
            **self.recipe.to_dict(),
            "seed": self.seed,
        }
        then = {
            **checkpoint.model.to_dict(),
            **BEFORE,
            **training["recipe"],
            "seed": training["seed"],
        }
        differing = [
            f"{name} was {_shown(then.get(name))}, is {now.get(name)}"
            for name in sorted(now.keys() | then.keys())
            if name != "steps" and now.get(name) != then.get(name)
        ]
        if differing:
            raise CheckpointError(f"the run was started differently: {'; '.join(differing)}")
        step = training["step"]
        if type(step) is not int or step < 0:
            raise ValueError("its step is no number of steps")
        if step > self.recipe.steps:
            raise CheckpointError(
                f"the run is at step {step} already, beyond --steps {self.recipe.steps}"
            )

    def _restore(self, checkpoint: Checkpoint) -> None:
        training = checkpoint.training
        self.model.load_state_dict(training["state"])
        groups = self.optimiser.state_dict()["param_groups"]  # the recipe's, whatever is said there
        state = training["optimiser"]["state"]
        for kept in state.values():
            _require_tensors(kept)
        self.optimiser.load_state_dict({"state": state, "param_groups": groups})
        for parameter, found in self.optimiser.state.items():
            _require_fit(parameter, found)
        if self.average:
            checkpoint.require_fit()
            self.average.state = {
                name: value.to(self.hardware.device) for name, value in checkpoint.weights.items()
            }
        self.step = training["step"]
        self._seed_dropout()
        if not self.team.leads:
            return  # the random state that was saved is the first process's
        torch.set_rng_state(training["random"])
        if training["random_cuda"] is not None and self.hardware.device.type == "cuda":
            torch.cuda.set_rng_state(training["random_cuda"], self.hardware.device)

    def _seed_dropout(self) -> None:
        """Processes must not drop alike; a process by itself is seeded as it always was."""
        seed = self.seed
        if not self.team.leads:
            seed = int(
                np.random.SeedSequence((seed, self.team.rank, self.step)).generate_state(1)[0]
            )
        torch.manual_seed(seed)


def _shown(value: object) -> str:
    """A setting of a file, which may hold lists of lists without end, for a message."""
    plain = value is None or isinstance(value, bool | int | float | str)
    return f"{value!s:.60}" if plain else f"a {type(value).__name__}"


def _require_tensors(state: Mapping[str, object]) -> None:
    """Raise ValueError unless an optimiser's state of a parameter is tensors: no lists of lists."""
    for name, value in state.items():
        if value is not None and (not isinstance(value, Tensor) or value.layout != torch.strided):
            raise ValueError(f"its optimiser's {name!s:.40} is no tensor")


def _require_fit(parameter: Tensor, state: Mapping[str, Tensor | None]) -> None:
    """Raise ValueError unless what an optimiser keeps of a parameter can be gone on with."""
    for name, value in state.items():
        if value is None:
            continue
        shape = () if name == "step" else parameter.shape
        held = value.untyped_storage().nbytes() // value.element_size()
        if value.shape != shape or held < value.numel():
            raise ValueError(f"its optimiser's {name!s:.40} does not fit its parameter")
