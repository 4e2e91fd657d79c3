"""A machine with a TensorRT and a plan cache, neither of them real."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deepmask.runtime.engines.tensorrt.cuda import Gpu
from deepmask.runtime.engines.tensorrt.plan_cache import model_plans
from deepmask.runtime.model.manifest import Grid, Manifest, Scales, Stage, TensorSpec, Views
from tests.runtime.fake_builder import fake_library, graph_file

GPU = Gpu("NVIDIA L4", "8.9", "12.8")
IMAGE = TensorSpec("image", "float32", (1, 3, "height", "width"))
FEATURES = TensorSpec("map", "float32", (1, 7, "height/16", "width/16"))
SCORE = TensorSpec("score", "float32", (1, 1, "rows", "cols"))
LOCATIONS = TensorSpec("locations", "int64", ("n", 2))
MASK = TensorSpec("mask", "float32", ("n", 16, 16))
EDGES: dict[str, tuple[str, dict[str, TensorSpec], dict[str, TensorSpec]]] = {
    "trunk": ("view", {"image": IMAGE}, {"features": FEATURES}),
    "score": ("view", {"features": FEATURES}, {"score": SCORE}),
    "mask": ("windows", {"features": FEATURES, "locations": LOCATIONS}, {"mask": MASK}),
}


def write_model(folder: Path, **more: Any) -> Manifest:
    """Write a model folder of graphs as the fake builder reads them; returns its manifest."""
    folder.mkdir(exist_ok=True)
    stages = []
    for name, (per, inputs, outputs) in EDGES.items():
        shapes = {
            key: [a if isinstance(a, int) else -1 for a in inputs[key].axes] for key in inputs
        }
        content = graph_file({"name": name, "inputs": shapes, **more})
        (folder / f"{name}.onnx").write_bytes(content)
        sha256 = hashlib.sha256(content).hexdigest()
        stages.append(Stage(name, f"{name}.onnx", sha256, per, inputs, outputs, {}))
    views = Views(Scales(-1.0, 0.0, 0.5), 1333, False, 48, 127.5, 16)
    grids = (Grid("windows", "score", 0, 16, 64, 16, 0.0),)
    return Manifest("fake", "fp32", views, grids, tuple(stages), 0.5, 0.75, 0.0, None, None, {})


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
        noted = lambda graph: self.built.append(graph["name"])  # noqa: E731
        library = fake_library(self.flavour, self.version, noted, steps=1)
        options = {"cache": self.cache, "report": self.lines.append, **options}
        return model_plans(self.manifest, self.folder, library, self.gpu, **options)

    def files(self, suffix: str) -> list[Path]:
        return sorted(self.cache.glob(f"*{suffix}"))

    def trunk(self) -> Path:
        return next(self.cache.glob(f"{self.manifest.stage('trunk').sha256[:16]}*.plan"))
