"""The network under training as an engine of the runtime: its views, ranking and masks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from deepmask.networks.dense.graphs import DenseForm, manifest_of
from deepmask.networks.families import dense_model, describe
from deepmask.networks.network import Network
from deepmask.runtime.engines.base import Buffer, Engine
from deepmask.runtime.engines.choose import Choice
from deepmask.runtime.predict.deepmask import DeepMask


class TorchEngine(Engine):
    """Runs dense graphs by PyTorch, in float32 and on the device they are on."""

    def __init__(self, form: DenseForm, device: torch.device) -> None:
        """Take graphs in evaluation mode whose modules are on `device`."""
        self.description = f"torch {torch.__version__} on {device}"
        self._graphs = {graph.name: graph for graph in form.graphs}
        self._device = device

    def send(self, buffer: Buffer) -> Tensor:
        """On the CPU the tensor is the array itself."""
        return torch.from_numpy(buffer.array).to(self._device)

    @torch.no_grad()
    def run(self, stage: str, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return self._graphs[stage].run(inputs)

    def shape(self, tensor: Tensor) -> tuple[int, ...]:
        return tuple(tensor.shape)

    @contextmanager
    def fetched(self, tensors: Sequence[Tensor]) -> Iterator[list[npt.NDArray[np.float32]]]:
        yield [tensor.detach().cpu().numpy() for tensor in tensors]

    def close(self) -> None:
        self._graphs.clear()


def runnable(network: Network, device: torch.device) -> DeepMask:
    """Return the runtime's model over a network in evaluation mode, without an export in between.

    What it proposes is what the exported network proposes, up to rounding.
    """
    dense = dense_model(network)
    for graph in dense.main.graphs:
        graph.module.to(device).eval()
    manifest = manifest_of(dense, describe(network.config), name="training", about={})
    return DeepMask(manifest, TorchEngine(dense.main, device), Choice("torch", str(device)))
