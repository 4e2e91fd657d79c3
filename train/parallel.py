"""Train one model in several processes that `torchrun` started."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, distributed

from deepmask.networks.processes import reduced

#: How long processes wait for one another: validation and saving are the first one's alone.
PATIENCE = timedelta(hours=2)


@dataclass(frozen=True)
class Team:
    """The processes that train one model: this one is `rank` of `size`."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process is the one that logs, validates and saves."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """Sum `values` over all processes, with the same result in each. Raises `PeerLostError`."""
        return self._reduce(values, distributed.ReduceOp.SUM)

    def most(self, value: int) -> int:
        """Wait for all processes; return the largest of their values. Raises `PeerLostError`."""
        if self.size == 1:
            return value
        return int(self._reduce(torch.tensor(value), distributed.ReduceOp.MAX))

    def _reduce(self, values: Tensor, how: distributed.ReduceOp.RedOpType) -> Tensor:
        if self.size == 1:
            return values
        return reduced(values, how)


#: A process that trains by itself.
ALONE = Team()


def local_device(device: str) -> str:
    """Return `device`; under `torchrun`, for "auto" and "cuda", this process's own GPU."""
    local = os.environ.get("LOCAL_RANK")
    if local is None or device not in ("auto", "cuda") or not torch.cuda.is_available():
        return device
    return f"cuda:{local}"


@contextmanager
def join(device: torch.device) -> Iterator[Team]:
    """Return the team that `torchrun` started this process in; `ALONE` if it is the only one.

    Sums of GPU tensors go through NCCL. Values on CPUs go through Gloo, so that they wait for no
    GPU.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield ALONE
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(backend, timeout=PATIENCE)
    try:
        yield Team(distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()
