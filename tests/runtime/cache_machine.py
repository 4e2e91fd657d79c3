"""A machine with a TensorRT and a plan cache, neither of them real."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deepmask.runtime.engines.tensorrt.cuda import Gpu
from deepmask.runtime.engines.tensorrt.plan_cache import model_plans
from deepmask.runtime.model.manifest import Graph, Manifest, Scales
from tests.runtime.fake_builder import fake_library

GPU = Gpu("NVIDIA L4", "8.9", "12.8", 24 << 30)
INPUTS = {
    "trunk": {"image": [1, 3, -1, -1]},
    "score": {"features": [1, 7, -1, -1]},
    "mask": {"features": [1, 7, -1, -1], "locations": [-1, 2]},
}
OUTPUTS = {"trunk": "features", "score": "score", "mask": "mask"}


def write_model(folder: Path, **more: Any) -> Manifest:
    """Write a model folder of graphs as the fake builder reads them; gives its manifest."""
    folder.mkdir(exist_ok=True)
    graphs = {}
    for name, inputs in INPUTS.items():
        graph = {"name": name, "inputs": inputs, **more}
        content = json.dumps(graph).encode()
        (folder / f"{name}.onnx").write_bytes(content)
        graphs[name] = Graph(f"{name}.onnx", hashlib.sha256(content).hexdigest(), tuple(inputs), (OUTPUTS[name],))
    return Manifest(
        name="fake",
        patch=64,
        stride=16,
        mask_size=16,
        border=48,
        fill=127.5,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        score_head="shared",
        precision="fp32",
        weights="fp32",
        opset=18,
        scales=Scales(-1.0, 0.0, 0.5),
        threshold=0.5,
        graphs=graphs,
        parity={},
    )


@dataclass
class Machine:
    """A model, a cache, a GPU and a TensorRT; `plans` asks for plans and notes what happens."""

    folder: Path
    cache: Path
    manifest: Manifest
    gpu: Gpu = GPU
    flavour: str = "tensorrt"
    version: str = "10.99.0"
    lines: list[str] = field(default_factory=list)
    built: list[str] = field(default_factory=list)

    def plans(self, **options: Any) -> dict[str, bytes]:
        self.lines, self.built = [], []
        library = fake_library(
            self.flavour,
            self.version,
            lambda graph: self.built.append(graph["name"]),
            steps=1,
        )
        return model_plans(
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
        return next(self.cache.glob(f"{self.manifest.graphs['trunk'].sha256[:16]}*.plan"))
