"""What a family of networks is to training, checkpoints and export: a few functions.

A family has a type of configuration, a type of recipe and a network of its own. Everything that
differs from family to family is behind `Family`; nothing else asks which one a network is of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from deepmask.coco.annotations import LabelledSet
from deepmask.networks.config import NetworkConfig
from deepmask.networks.dense.graphs import DenseModel, Description
from deepmask.networks.network import Network, ParameterGroup, train_everything
from deepmask.networks.recipe import Recipe

Weights = dict[str, Tensor]
BatchType = TypeVar("BatchType", bound="TensorBatch")
ConfigType = TypeVar("ConfigType", bound=NetworkConfig)
RecipeType = TypeVar("RecipeType", bound=Recipe)
NetworkType = TypeVar("NetworkType", bound=Network)


@dataclass(frozen=True)
class TensorBatch:
    """Base of every batch, or one process's share of it: frozen, with tensors, perhaps in lists."""

    def to(self: BatchType, device: torch.device) -> BatchType:
        """Return the same with its tensors on a device."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pinned(self: BatchType) -> BatchType:
        """Return the same in page-locked memory, from which a GPU copies while the CPU goes on."""
        return self._each(Tensor.pin_memory)

    def _each(self: BatchType, change: Callable[[Tensor], Tensor]) -> BatchType:
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return replace(self, **{name: _changed(value, change) for name, value in values.items()})


def _changed(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    return [_changed(one, change) for one in value] if isinstance(value, list) else value


@dataclass(frozen=True)
class TrainingData:
    """What batches are made from, and where.

    labelled     the set in which every object is labelled.
    partly       sets of whose pictures only some objects are labelled.
    seed         decides, with the step, everything that is random.
    rank, size   this process is number `rank` of `size`; each makes its own share of every batch.
    cache_bytes  memory for decoded pictures and masks.
    proposals    from a picture's id to boxes proposed before, (n, 4) x, y, width, height in its
                 pixels, best first; None where there are none.
    """

    labelled: LabelledSet
    partly: Sequence[LabelledSet] = ()
    seed: int = 0
    rank: int = 0
    size: int = 1
    cache_bytes: int = 10**9
    proposals: Callable[[int], npt.NDArray[np.float64]] | None = None


def keep_configuration(config: ConfigType, data: TrainingData) -> ConfigType:
    """Return the configuration as it is, whatever there is to learn from."""
    return config


def no_base(config: NetworkConfig) -> None:
    """Say that a network does not start from one of another family."""


def no_own_trunk(config: NetworkConfig) -> bool:
    """Say that a network has the trunk of what it starts from only."""
    return False


@dataclass(frozen=True)
class Validation(Generic[ConfigType, RecipeType, NetworkType, BatchType]):
    """A measurement on fixed batches, while training goes on.

    measures  names of what is measured: columns of the log.
    batches   the fixed batches of a labelled set, with so many objects.
    measure   each measure by name, of a network in evaluation mode on these batches.
    """

    measures: tuple[str, ...]
    batches: Callable[[LabelledSet, ConfigType, RecipeType, int], Sequence[BatchType]]
    measure: Callable[[NetworkType, Iterable[BatchType]], Mapping[str, float]]


@dataclass(frozen=True)
class Family(Generic[ConfigType, RecipeType, NetworkType, BatchType]):
    """One kind of network.

    config        the type of its configurations, which no other family has.
    recipe        the type of its training settings.
    units         what a batch consists of, in the plural: a word for the log and progress bar.
    build         the network of a configuration, with random weights.
    batches       a function from a step to its batch, pure: the same step gives the same batch, in
                  whatever order and thread it is called. Raises ValueError, with one line for the
                  user, for data that it cannot learn from.
    loss_weights  names of the losses, each with its weight in the sum that is minimised.
    losses        scalars by name: this process's share of each loss that the whole batch trains. A
                  batch need not train all, but every process must give the same names. Called under
                  autocast: logits are to be made float32 before a loss is taken of them.
    dense         the graphs to export of a network in evaluation mode. See `fold_batchnorm` for
                  what is folded before.
    describe      what `model.json` says of a network of that configuration.
    fitted        the configuration for the data to learn from, of the preset's: the same, unless
                  the data decide on a part of it, such as categories. Raises ValueError, as
                  `batches` does.
    trainable     puts the network in training mode and returns the parameters that learn.
    validation    what is measured on fixed batches; None for nothing.
    base          the configuration of the trained network that one starts from (`--from`); None for
                  a network that starts from a pretrained trunk or from random weights (`--init`).
                  Either may go on from a trained network like it.
    base_or_init  whether a network with a base may start in the other way as well.
    own_trunk     of a family with `base`: whether a network has a trunk of its own beside what it
                  starts from, for `--init` to fill.
    start_from    copies that trained network into the new one.
    reads_proposals  whether batches read `TrainingData.proposals`.
    with_scores_of  joins the masks of a network, configuration and weights, to the scores of
                  another, as one network of the family; None where that cannot be.
    """

    config: type[ConfigType]
    recipe: type[RecipeType]
    units: str
    build: Callable[[ConfigType], NetworkType]
    batches: Callable[[TrainingData, ConfigType, RecipeType], Callable[[int], BatchType]]
    loss_weights: Callable[[RecipeType], Mapping[str, float]]
    losses: Callable[[NetworkType, BatchType], Mapping[str, Tensor]]
    dense: Callable[[NetworkType], DenseModel]
    describe: Callable[[ConfigType], Description]
    fitted: Callable[[ConfigType, TrainingData], ConfigType] = keep_configuration
    trainable: Callable[[NetworkType, RecipeType], Sequence[ParameterGroup]] = train_everything
    validation: Validation[ConfigType, RecipeType, NetworkType, BatchType] | None = None
    base: Callable[[ConfigType], NetworkConfig | None] = no_base
    base_or_init: bool = False
    own_trunk: Callable[[ConfigType], bool] = no_own_trunk
    start_from: Callable[[NetworkType, Network], None] | None = None
    reads_proposals: bool = False
    with_scores_of: (
        Callable[[ConfigType, Weights, NetworkConfig, Weights], tuple[ConfigType, Weights]] | None
    ) = None


AnyFamily = Family[Any, Any, Any, Any]
