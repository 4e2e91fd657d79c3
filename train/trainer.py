"""Take training steps, and save and restore all that the next step depends on."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_

from deepmask.networks.families import build, family_name, family_of
from deepmask.networks.family import TensorBatch
from deepmask.networks.network import Network
from deepmask.networks.recipe import Recipe
from deepmask.train.checkpoint import Checkpoint, CheckpointError
from deepmask.train.device import Hardware
from deepmask.train.losses import Losses, MeanLosses
from deepmask.train.optimise import Average, learning_rate, make_optimiser, set_learning_rate
from deepmask.train.parallel import ALONE, Team

#: Losses on these devices are fetched so many steps at a time: it takes waiting for all they do.
LATE = ("cuda",)
FETCH_EVERY = 50
_REMEDY = "lower --lr or set --clip"


class Trainer:
    """One model, its optimiser and its place in the recipe."""

    def __init__(
        self,
        model: Network,
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
        self.family = family_of(model.config)
        self.optimiser = make_optimiser(self.family.trainable(self.model, recipe), recipe)
        self.average = Average(self.model, recipe.average) if recipe.average else None
        self.step = 0
        self._weights = dict(self.family.loss_weights(recipe))
        self._unread: list[tuple[int, Sequence[str], Tensor]] = []
        self._means = MeanLosses(self._weights)
        if hardware.compiled:
            self.model.compile_parts()
        self._losses: nn.Module = Losses(self.model, hardware, self._weights)
        if team.size > 1:
            # A batch need not train every loss, nor a share of it all that the others train.
            self._losses = DistributedDataParallel(
                self._losses, broadcast_buffers=False, find_unused_parameters=True
            )
        self._seed_dropout()

    @property
    def loss_names(self) -> tuple[str, ...]:
        """Names of the losses, in the order of the log."""
        return tuple(self._weights)

    def train_step(self, batch: TensorBatch) -> None:
        """Update the weights by `batch`, this process's share; `mean_losses` returns its losses.

        Raises FloatingPointError when a loss is not finite: at once on a CPU, within `FETCH_EVERY`
        steps on a GPU, and before anything is saved.
        """
        device = self.hardware.device
        set_learning_rate(self.optimiser, learning_rate(self.step, self.recipe))
        shares = self._losses(batch.to(device))
        losses = self.team.sum(torch.stack(list(shares.values())).detach())
        self._unread.append((self.step, list(shares), losses))
        if device.type not in LATE or len(self._unread) == FETCH_EVERY:
            self._fetch_losses()
        self.optimiser.zero_grad(set_to_none=True)
        # The processes' gradients are averaged, but their losses add up: hence the first factor.
        total = sum(self._weights[name] * share for name, share in shares.items())
        (self.team.size * total).backward()
        if self.recipe.clip:
            clip_grad_norm_(self.model.parameters(), self.recipe.clip)
        self.optimiser.step()
        if self.average:
            self.average.update(self.model, self.step)
        self.step += 1

    def mean_losses(self) -> dict[str, float]:
        """Return each loss of whole batches by name: the mean over those since the last call.

        NaN where none of them had that loss. Raises FloatingPointError for one not finite.
        """
        self._fetch_losses()
        return self._means.take()

    def weights(self) -> dict[str, Tensor]:
        """Return the weights to use: the running average if there is one."""
        state = self.average.state if self.average else self.model.state_dict()
        return {name: value.detach().cpu().clone() for name, value in state.items()}

    def averaged(self) -> Network:
        """Return a copy of the network with `weights()`, on the training device."""
        with torch.random.fork_rng(devices=[]):  # looking at the model must not change training
            model = build(self.model.config)
        model.load_state_dict(self.weights())
        return model.to(self.hardware.device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def checkpoint(self) -> Checkpoint:
        """Return everything that resuming needs, and the weights to use.

        Raises FloatingPointError for weights that a loss or an update that is not finite has lost.
        """
        self._fetch_losses()
        if not all(bool(weight.isfinite().all()) for weight in self.model.parameters()):
            raise FloatingPointError(
                f"the weights are not finite after step {self.step - 1}: {_REMEDY}"
            )
        device, torch_version = self.hardware.device, str(torch.__version__)
        versions = {"python": platform.python_version(), "torch": torch_version}
        training = {
            "state": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "seed": self.seed,
            "recipe": self.recipe.to_dict(),
            "conditions": self._conditions,
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
            "versions": {**versions, "numpy": np.__version__},
        }
        return Checkpoint(self.model.config, self.weights(), training)

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
        # Losses that are not finite stay unread: nothing that was learnt since can be saved.
        if not self._unread:
            return
        values = iter(torch.cat([losses for _, _, losses in self._unread]).tolist())
        for step, names, _ in self._unread:
            losses = {name: next(values) for name in names}
            if not all(map(math.isfinite, losses.values())):
                raise FloatingPointError(
                    f"the loss is {sum(losses.values())} at step {step}: {_REMEDY}"
                )
            self._means.add(losses)
        self._unread = []

    def _compare(self, checkpoint: Checkpoint) -> None:
        training = checkpoint.training
        now: dict[str, Any] = {
            "family": family_name(self.model.config),
            **self.model.config.to_dict(),
            **self.recipe.to_dict(),
            "seed": self.seed,
        }
        then = {
            "family": checkpoint.family,
            **checkpoint.model.to_dict(),
            **{item.name: item.default for item in fields(self.recipe)},  # where none was kept
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
            device = self.hardware.device
            self.average.state = {k: value.to(device) for k, value in checkpoint.weights.items()}
        self.step = training["step"]
        self._seed_dropout()
        if not self.team.leads:
            return  # the random state that was saved is the first process's
        torch.set_rng_state(training["random"])
        if training["random_cuda"] is not None and self.hardware.device.type == "cuda":
            torch.cuda.set_rng_state(training["random_cuda"], self.hardware.device)

    def _seed_dropout(self) -> None:
        seed = self.seed
        if not self.team.leads:  # processes must not drop alike
            own = np.random.SeedSequence((seed, self.team.rank, self.step))
            seed = int(own.generate_state(1)[0])
        torch.manual_seed(seed)


def _shown(value: object) -> str:
    # A file's setting may be lists of lists without end.
    plain = value is None or isinstance(value, bool | int | float | str)
    return f"{value!s:.60}" if plain else f"a {type(value).__name__}"


def _require_tensors(state: Mapping[str, object]) -> None:
    # Lists of lists would be copied without end.
    for name, value in state.items():
        if value is not None and (not isinstance(value, Tensor) or value.layout != torch.strided):
            raise ValueError(f"its optimiser's {name!s:.40} is no tensor")


def _require_fit(parameter: Tensor, state: Mapping[str, Tensor | None]) -> None:
    for name, value in state.items():
        if value is None:
            continue
        shape = () if name == "step" else parameter.shape
        held = value.untyped_storage().nbytes() // value.element_size()
        if value.shape != shape or held < value.numel():
            raise ValueError(f"its optimiser's {name!s:.40} does not fit its parameter")
