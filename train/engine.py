"""The network under training as an engine of the runtime: its pyramid, ranking and masks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepmask import runtime
from deepmask.export.describe import describe
from deepmask.export.graphs import GraphSource, graph_sources
from deepmask.export.score import INTERLEAVINGS
from deepmask.runtime.engines import Choice, Engine
from deepmask.runtime.manifest import Graph
from deepmask.train.model import DeepMask


class TorchEngine(Engine):
    """Runs the exporter's graph modules by PyTorch, in float32 and on the device they are on."""

    def __init__(self, graphs: Mapping[str, GraphSource], device: torch.device) -> None:
        """`graphs` by name, in evaluation mode."""
        self.description = f"torch {torch.__version__} on {device}"
        self._graphs = dict(graphs)
        self._device = device

    def upload(self, array: NDArray[Any]) -> Tensor:
        """See `Engine`."""
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._device)

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

    def fetch(self, tensor: Tensor) -> NDArray[np.float32]:
        """See `Engine`."""
        fetched: NDArray[np.float32] = tensor.cpu().numpy().copy()
        return fetched

    def close(self) -> None:
        """See `Engine`."""
        self._graphs.clear()


def runnable(network: DeepMask, device: torch.device) -> runtime.DeepMask:
    """The runtime's model over a network in evaluation mode, without an export in between.

    What it proposes is what the exported network proposes, up to rounding.
    """
    sources = graph_sources(network, INTERLEAVINGS[0], dense_mask=False)
    for source in sources.values():
        source.module.to(device).eval()
    graphs = {name: Graph("", "", one.inputs, one.outputs) for name, one in sources.items()}
    manifest = describe(network.config, graphs, name="training", weights="fp32", opset=0, parity={})
    return runtime.DeepMask(manifest, TorchEngine(sources, device), Choice("torch", str(device)))
