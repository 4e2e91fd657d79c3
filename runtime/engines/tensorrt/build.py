"""Build a plan, TensorRT's compiled form of a graph, from an ONNX file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from deepmask.runtime.engines.base import EngineError
from deepmask.runtime.engines.tensorrt.cuda import Gpu
from deepmask.runtime.engines.tensorrt.flavours import FLAVOURS, Library, started
from deepmask.runtime.engines.tensorrt.profile import Profile
from deepmask.runtime.engines.tensorrt.progress import monitored
from deepmask.runtime.errors import one_line
from deepmask.runtime.progress import Progress, no_progress

#: A warning that asks for nothing: model.json says int64, and so it is given and taken.
_HARMLESS = re.compile(r"Make sure (?:input|output) \S+ has Int64 binding")

#: TensorRT for RTX (1.7.1) on compute capability 7.5, and what to do there.
_NO_SINGLE = "FP32 GEMM is not supported"
_ON_TURING = "; for this GPU use --engine tensorrt"


def build_plan(
    library: Library,
    graph: bytes,
    name: str,
    profiles: Sequence[Profile],
    targets: Sequence[str] = (),
    progress: Progress = no_progress,
    tf32: bool = True,
) -> tuple[bytes, list[str]]:
    """Build the plan of a graph, the content of an ONNX file; `name` is for messages.

    Returns the plan and TensorRT's warnings. `targets` are compute capabilities like "8.9", which
    TensorRT for RTX builds for without a GPU; none means the GPU that is there. `tf32`: see
    `DeepMask.load`. Ctrl-C ends it.
    Raises `EngineError` if the graph is refused or the build fails.
    """
    trt = library.module
    library.messages.take()
    builder = started(library, trt.Builder)
    network = builder.create_network(strongly_typed(trt))
    parser = trt.OnnxParser(network, library.logger)  # owns weights: must outlive the build
    if not parser.parse(graph):
        raise EngineError(f"{library.flavour} refuses graph {name}: {_parser_error(parser)}")
    config = builder.create_builder_config()
    (config.set_flag if tf32 else config.clear_flag)(trt.BuilderFlag.TF32)
    for profile in profiles:
        config.add_optimization_profile(_optimization_profile(builder, network, profile, name))
    if targets:
        config.num_compute_capabilities = len(targets)
    for index, target in enumerate(targets):
        capability = getattr(trt.ComputeCapability, target_name(trt, target))
        config.set_compute_capability(capability, index)
    with monitored(trt, config, f"building {name}", progress):
        plan = builder.build_serialized_network(network, config)
    messages = library.messages.take()
    if plan is None:
        raise EngineError(f"{library.flavour} cannot build graph {name}: {_reason(messages)}")
    return bytes(plan), [line for line in messages if not _HARMLESS.search(line)]


def check_gpu(library: Library, gpu: Gpu) -> None:
    """Raise `EngineError` if TensorRT for RTX is not for this GPU; TensorRT says so in a build."""
    if FLAVOURS[library.flavour].portable:
        named = f"{gpu.name} has compute capability {gpu.compute_capability}"
        try:
            target_name(library.module, gpu.compute_capability)
        except EngineError as error:
            raise EngineError(f"{named}: {error}") from error


def target_name(trt: ModuleType, capability: str) -> str:
    """Turn "8.9" into "SM89"; raises `EngineError` for what TensorRT for RTX cannot build for."""
    name = "SM" + capability.replace(".", "")
    known = [key for key in dir(trt.ComputeCapability) if re.fullmatch(r"SM\d+", key)]
    if name not in known:
        accepted = ", ".join(sorted(known, key=lambda key: int(key[2:])))
        raise EngineError(f"tensorrt-rtx cannot build for {name}; it can for {accepted}")
    return name


def strongly_typed(trt: ModuleType) -> int:
    """Return flags of a network whose layers have the graph's types: none from version 11 on."""
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def _optimization_profile(builder: Any, network: Any, profile: Profile, stage: str) -> Any:
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    own = {tensor.name: tuple(tensor.shape) for tensor in inputs}
    if own.keys() != profile.keys() or not all(
        len(own[name]) == len(wanted.opt)
        and all(size in (-1, best) for size, best in zip(own[name], wanted.opt, strict=True))
        for name, wanted in profile.items()
    ):
        raise EngineError(
            f"graph {stage} has inputs {own}, not those of model.json, {', '.join(profile)}; "
            "export the checkpoint again"
        )
    made = builder.create_optimization_profile()
    for name, wanted in profile.items():
        made.set_shape(name, wanted.min, wanted.opt, wanted.max)
    return made


def _parser_error(parser: Any) -> str:
    if not parser.num_errors:
        return "it gave no reason"
    error = parser.get_error(0)
    where = f"{error.node_operator()} {error.node_name()}: " if error.node_name() else ""
    return one_line(where + error.desc())


def _reason(messages: Sequence[str]) -> str:
    """Pick the message that tells most: of memory if that ran out, else the last one."""
    of_memory = [line for line in messages if "out of memory" in line.lower()]
    reason = one_line([*messages, *of_memory][-1]) if messages else "it gave no reason"
    return f"{reason}{_ON_TURING}" if _NO_SINGLE in reason else reason
