"""What the processes of a run must know of one another: how much the whole batch has to learn."""

from __future__ import annotations

from torch import Tensor, distributed


def of_all_processes(counts: Tensor) -> Tensor:
    """Sum counts over the processes that share a batch; alone, return them as they are.

    A loss that each divides by these adds up to the loss of the whole batch.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return counts
    total = counts.detach().clone()
    distributed.all_reduce(total)
    return total
