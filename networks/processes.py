"""Sums over the processes that torchrun started to train one network together."""

from __future__ import annotations

from torch import Tensor, distributed


class PeerLostError(Exception):
    """Another process of the team stopped, so training cannot go on."""


def reduced(values: Tensor, how: distributed.ReduceOp.RedOpType) -> Tensor:
    """Reduce `values` over all processes; returns the same in each. Raises `PeerLostError`."""
    total = values.detach().clone()
    try:
        distributed.all_reduce(total, how)
    except RuntimeError as error:
        raise PeerLostError(
            "another process of this run stopped; its own message says why"
        ) from error
    return total


def of_whole_batch(counts: Tensor) -> Tensor:
    """Sum counts over the processes that share a batch; alone, return them as they are.

    Losses that each process divides by these add up to the loss of the whole batch. Every process
    must call this as often as the others. Raises `PeerLostError`.
    """
    alone = not (distributed.is_available() and distributed.is_initialized())
    return counts if alone else reduced(counts, distributed.ReduceOp.SUM)
