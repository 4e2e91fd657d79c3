"""TensorRT's builder as far as the runtime uses it. A "graph" is ONNX around JSON, a "plan" JSON.

A graph: {"inputs": {name: shape}}, and optionally "remark" and "refused" with what the parser says,
"warns" and "fails" with what the builder says.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from enum import IntEnum
from types import SimpleNamespace
from typing import Any

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from deepmask.runtime.engines.tensorrt.flavours import Library, Messages

ComputeCapability = IntEnum("ComputeCapability", "SM80 SM86 SM89 SM120")


def graph_file(described: dict[str, Any]) -> bytes:
    """An ONNX file that is a graph to this builder."""
    content: bytes = onnx.ModelProto(doc_string=json.dumps(described)).SerializeToString()
    return content


def read_graph(content: bytes) -> dict[str, Any]:
    """What `graph_file` wrote; of a real graph its inputs."""
    model = onnx.ModelProto.FromString(content)
    if model.doc_string:
        return dict(json.loads(model.doc_string))
    shapes = {
        one.name: [size.dim_value or -1 for size in one.type.tensor_type.shape.dim]
        for one in model.graph.input
    }
    return {"name": model.graph.name.split()[0], "inputs": shapes}


class Network:
    def __init__(self, flags: int) -> None:
        self.flags = flags
        self.graph: dict[str, Any] = {}

    @property
    def num_inputs(self) -> int:
        return len(self.graph["inputs"])

    def get_input(self, index: int) -> Any:
        name, shape = list(self.graph["inputs"].items())[index]
        return SimpleNamespace(name=name, shape=tuple(shape))


class Profile:
    def __init__(self) -> None:
        self.shapes: dict[str, list[tuple[int, ...]]] = {}

    def set_shape(self, name: str, *shapes: tuple[int, ...]) -> None:
        assert all(size >= 0 for shape in shapes for size in shape)
        self.shapes[name] = list(shapes)


class Config:
    def __init__(self) -> None:
        self.profiles: list[Profile] = []
        self.cleared: list[str] = []
        self.set: list[str] = []
        self.progress_monitor: Any = None
        self.num_compute_capabilities = 0
        self.targets: list[str] = []

    def set_flag(self, flag: str) -> None:
        self.set.append(flag)

    def clear_flag(self, flag: str) -> None:
        self.cleared.append(flag)

    def add_optimization_profile(self, profile: Profile) -> int:
        self.profiles.append(profile)
        return len(self.profiles) - 1

    def set_compute_capability(self, target: ComputeCapability, index: int) -> bool:
        self.targets.append(target.name)
        return index < self.num_compute_capabilities


def fake_library(
    flavour: str = "tensorrt",
    version: str = "10.99.0",
    building: Callable[[dict[str, Any]], None] = lambda graph: None,
    steps: int = 3,
    tactics: int = 0,
) -> Library:
    """The library. `building` is called with each graph that is built, at every step of it.

    `tactics` is what measurements on a GPU came to: plans that differ in it are equals.
    """
    messages = Messages()

    class Parser:
        def __init__(self, network: Network, logger: object) -> None:
            self._network = network
            self._problem = ""

        def parse(self, content: bytes) -> bool:
            try:
                self._network.graph = read_graph(content)
                self._problem = self._network.graph.get("refused", "")
            except DecodeError:
                self._problem = "Failed to parse the ONNX model.\nIt is no protobuf."
            if "remark" in self._network.graph:
                messages.add(self._network.graph["remark"])
            return not self._problem

        @property
        def num_errors(self) -> int:
            return int(self._problem not in ("", "silence"))

        def get_error(self, index: int) -> Any:
            said = {"desc": self._problem, "node_name": "", "node_operator": ""}
            return SimpleNamespace(**{key: lambda v=value: v for key, value in said.items()})

    class Builder:
        def __init__(self, logger: object) -> None:
            assert logger == "logger"

        create_network = Network
        create_builder_config = Config
        create_optimization_profile = Profile

        def build_serialized_network(self, network: Network, config: Config) -> bytes | None:
            graph, monitor = network.graph, config.progress_monitor
            monitor.phase_start("Building", None, steps)
            for step in range(steps):
                building(graph)
                if not monitor.step_complete("Building", step):
                    return None
            monitor.phase_finish("Building")
            for line in (*graph.get("warns", ()), *graph.get("fails", ())):
                messages.add(line)
            if "fails" in graph:
                return None
            shapes = [profile.shapes for profile in config.profiles]
            plan = {"graph": graph, "profiles": shapes, "targets": config.targets, "t": tactics}
            plan |= {"flags": network.flags, "cleared": config.cleared, "set": config.set}
            return json.dumps(plan).encode()

    module: Any = SimpleNamespace(
        Builder=Builder,
        OnnxParser=Parser,
        IProgressMonitor=object,
        ComputeCapability=ComputeCapability,
        BuilderFlag=SimpleNamespace(TF32="TF32"),
        NetworkDefinitionCreationFlag=SimpleNamespace(STRONGLY_TYPED=1),
    )
    return Library(module, flavour, version, "logger", messages)
