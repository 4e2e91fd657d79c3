"""The network under training as an engine of the runtime: its pyramid, ranking and masks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from deepmask.networks.deepmask import DeepMaskNetwork
from deepmask.networks.dense.describe import describe
from deepmask.networks.dense.graphs import GraphSource, graph_sources
from deepmask.networks.dense.score import INTERLEAVINGS
from deepmask.runtime.engines.base import Buffer, Engine
from deepmask.runtime.engines.choose import Choice
from deepmask.runtime.model.manifest import Graph
from deepmask.runtime.predict.deepmask import DeepMask


class TorchEngine(Engine):
    """Runs the exporter's graph modules by PyTorch, in float32 and on the device they are on."""

    def __init__(self, graphs: Mapping[str, GraphSource], device: torch.device) -> None:
        """`graphs` by name, in evaluation mode."""
        self.description = f"torch {torch.__version__} on {device}"
        self._graphs = dict(graphs)
        self._device = device

    def buffer(self, shape: Sequence[int], dtype: npt.DTypeLike) -> Buffer:
        """See `Engine`."""
        return Buffer(np.empty(shape, dtype))

    def send(self, buffer: Buffer) -> Tensor:
        """See `Engine`. On the CPU the tensor is the array itself."""
        return torch.from_numpy(buffer.array).to(self._device)

    @torch.no_grad()
    def run(self, graph: str, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `Engine`."""
        source = self._graphs[graph]
        found = source.module(*(inputs[name] for name in source.inputs))
        tensors = found if isinstance(found, tuple) else (found,)
        return dict(zip(source.outputs, tensors, strict=True))

    def shape(self, tensor: Tensor) -> tuple[int, ...]:
        """See `Engine`."""
        return tuple(tensor.shape)

    @contextmanager
    def fetched(self, tensors: Sequence[Tensor]) -> Iterator[list[npt.NDArray[np.float32]]]:
        """See `Engine`."""
        yield [tensor.cpu().numpy() for tensor in tensors]

    def close(self) -> None:
        """See `Engine`."""
        self._graphs.clear()


def runnable(network: DeepMaskNetwork, device: torch.device) -> DeepMask:
    """The runtime's model over a network in evaluation mode, without an export in between.

    What it proposes is what the exported network proposes, up to rounding.
    """
    sources = graph_sources(network, INTERLEAVINGS[0], dense_mask=False)
    for source in sources.values():
        source.module.to(device).eval()
    graphs = {name: Graph("", "", one.inputs, one.outputs) for name, one in sources.items()}
    manifest = describe(network.config, graphs, name="training", weights="fp32", opset=0, parity={})
    return DeepMask(manifest, TorchEngine(sources, device), Choice("torch", str(device)))
