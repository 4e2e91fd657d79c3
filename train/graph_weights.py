"""Read a network's weights back from an exported model: from its graphs' initialisers.

A graph names its weights as the module that it was made of. Biases that are equal to others, or
zero, are left out of a graph: what the layer reads in their place tells them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from deepmask.networks.dense.graphs import DenseGraph
from deepmask.networks.dense.trunk import fold_batchnorm, unfold_batchnorm
from deepmask.networks.families import dense_model
from deepmask.networks.network import Network
from deepmask.networks.trunks import InitialiseError
from deepmask.runtime.distribution import pip_install
from deepmask.runtime.model.folder import load_manifest

#: What ends the name of a weight that is stored as float16.
_HALF = ".half"
#: Operators whose second input is a layer's weight, and whose third, if there, its bias.
_LAYERS = ("Conv", "Gemm")


@dataclass(frozen=True)
class _Graph:
    """A graph's file: its weights by name, and by a layer's weight what stands for its bias.

    "" stands for a bias of zeros, which a graph leaves out.
    """

    file: str
    module: nn.Module
    weights: Mapping[str, Tensor]
    biases: Mapping[str, str]

    def parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield the module's parameters, each under all of its names."""
        yield from self.module.named_parameters(remove_duplicate=False)

    def weight(self, name: str) -> Tensor | None:
        """Return the weight that has a name in the module; None if the file does not hold it."""
        layer, _, what = name.rpartition(".")
        matrix = f"{layer}.weight"
        if name in self.weights or what != "bias" or matrix not in self.biases:
            return self.weights.get(name)
        stands_for_it = self.biases[matrix]
        if stands_for_it:
            return self.weights.get(stands_for_it)
        return torch.zeros(len(self.weights[matrix])) if matrix in self.weights else None

    def fill(self, parameter: nn.Parameter, name: str, weight: Tensor) -> None:
        """Copy a weight of the file into a parameter of the module."""
        if weight.shape != parameter.shape:
            raise InitialiseError(
                f"{self.file} is of a network of another configuration: its {name} is "
                f"{list(weight.shape)}, not {list(parameter.shape)}; give --preset its own"
            )
        with torch.no_grad():
            parameter.copy_(weight)


def graph_files(network: Network) -> set[str]:
    """Return the names of the files that an export of a network has."""
    return {f"{graph.file}.onnx" for graph in dense_model(network.eval()).files()}


def read_graph_weights(network: Network, folder: Path) -> None:
    """Fill a network with the weights of the model folder that was exported of one like it.

    Weights that were exported as float16 come back as rounded as they are there. BatchNorm, which
    graphs hold folded, comes back as one that does what is left of it. Raises `InitialiseError` for
    a folder of lower precision or another configuration, and for graphs that hold other weights
    than are trained; `ModelFolderError` for what is no model.
    """
    precision = load_manifest(folder).precision
    if precision != "fp32":
        raise InitialiseError(
            f"{folder} computes in {precision}, which no training goes on from: give the fp32 "
            "model that it was made of, or a checkpoint"
        )
    folded = fold_batchnorm(network)
    graphs = [_read(one, folder) for one in dense_model(folded).files()]
    filled = set()
    for graph in graphs:
        for name, parameter in graph.parameters():
            if (weight := graph.weight(name)) is not None:
                graph.fill(parameter, name, weight)
                filled.add(_storage(parameter))
    lacking = [name for name, one in folded.state_dict().items() if _storage(one) not in filled]
    if lacking:
        more = f" and {len(lacking) - 1} more" if lacking[1:] else ""
        raise InitialiseError(
            f"{folder}: its graphs do not hold {lacking[0]}{more} as it is trained: give the "
            "checkpoint that it was exported from"
        )
    unfold_batchnorm(network, folded)


def _storage(tensor: Tensor) -> int:
    # Graphs may see a weight in another shape: what they share with the network is its memory.
    return tensor.untyped_storage().data_ptr()


def _read(graph: DenseGraph, folder: Path) -> _Graph:
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError:
        raise InitialiseError(
            f"weights of the model {folder} are read by onnx, which is not installed: "
            f"{pip_install('train')}"
        ) from None
    path = folder / f"{graph.file}.onnx"
    found = onnx.load(path).graph
    weights = {
        tensor.name.removesuffix(_HALF): torch.from_numpy(numpy_helper.to_array(tensor).copy())
        for tensor in found.initializer
        if tensor.data_type in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
    }
    biases = {
        node.input[1]: next(iter(node.input[2:]), "")
        for node in found.node
        if node.op_type in _LAYERS
    }
    return _Graph(str(path), graph.module, weights, biases)
