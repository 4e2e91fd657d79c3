"""A machine with a TensorRT and an engine cache, neither of them real."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deepmask.runtime.engines.tensorrt.device import Gpu
from deepmask.runtime.engines.tensorrt.plan_cache import engine_plans
from deepmask.runtime.engines.tensorrt.plan_metadata import hash_of
from deepmask.runtime.model.manifest import (
    VIEW,
    WINDOWS,
    Grid,
    Manifest,
    Scales,
    Stage,
    TensorSpec,
    Views,
)
from tests.runtime.fake_builder import fake_library

GPU = Gpu("NVIDIA L4", (8, 9), "12.8", 24 << 30)
INPUTS = {
    "trunk": {"image": [1, 3, -1, -1]},
    "score": {"features": [1, 7, -1, -1]},
    "mask": {"features": [1, 7, -1, -1], "locations": [-1, 2]},
}
OUTPUTS = {"trunk": "features", "score": "score", "mask": "mask"}
TENSORS = {
    "image": TensorSpec("image", "float32", (1, 3, "height", "width")),
    "features": TensorSpec("map", "float32", (1, 7, "height/16", "width/16")),
    "score": TensorSpec("score", "float32", (1, 1, "rows", "cols")),
    "locations": TensorSpec("locations", "int64", ("n", 2)),
    "mask": TensorSpec("mask", "float32", ("n", 16, 16)),
}


def write_model(
    folder: Path, layers: Sequence[Sequence[str]] = (("CONVOLUTION", "FLOAT"),), **more: str
) -> Manifest:
    """A model folder of graphs as the fake builder reads them; gives its manifest."""
    folder.mkdir(exist_ok=True)
    stages = []
    for name, inputs in INPUTS.items():
        graph = {"name": name, "inputs": inputs, "layers": layers, **more}
        content = json.dumps(graph).encode()
        (folder / f"{name}.onnx").write_bytes(content)
        stages.append(
            Stage(
                name=name,
                file=f"{name}.onnx",
                sha256=hash_of(content),
                per=WINDOWS if name == "mask" else VIEW,
                inputs={tensor: TENSORS[tensor] for tensor in inputs},
                outputs={OUTPUTS[name]: TENSORS[OUTPUTS[name]]},
                layers={},
            )
        )
    return Manifest(
        name="fake",
        precision="fp32",
        views=Views(Scales(-1.0, 0.0, 0.5), 1333, False, 48, 127.5, 16),
        grids=(Grid("windows", "score", 0, 16, 64, 16, 0.0),),
        stages=tuple(stages),
        threshold=0.5,
        overlap=1.0,
        scale_prior=0.0,
        categories=None,
        coarse=None,
        about={},
    )


@dataclass
class Machine:
    """A model, a cache, a GPU and a TensorRT; `plans` asks for engines and notes what happens."""

    folder: Path
    cache: Path
    manifest: Manifest
    gpu: Gpu = GPU
    flavour: str = "tensorrt"
    version: str = "10.99.0"
    options: dict[str, Any] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    built: list[str] = field(default_factory=list)

    def plans(self, **options: Any) -> dict[str, bytes]:
        self.lines, self.built = [], []
        library = fake_library(
            self.flavour,
            self.version,
            lambda graph: self.built.append(graph["name"]),
            steps=1,
            **self.options,
        )
        return engine_plans(
            self.manifest,
            self.folder,
            library,
            self.gpu,
            cache=self.cache,
            report=self.lines.append,
            **options,
        )

    def files(self, suffix: str) -> list[Path]:
        return sorted(self.cache.glob(f"*{suffix}"))

    def trunk(self) -> Path:
        return next(self.cache.glob(f"{self.manifest.stage('trunk').sha256[:16]}*.plan"))
