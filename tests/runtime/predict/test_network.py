"""Which stages of a view run."""

from __future__ import annotations

from deepmask.runtime.model.manifest import VIEW, Stage, TensorSpec
from deepmask.runtime.predict.network import serving

MAP = TensorSpec("map", "float32", (1, 4, "height/8", "width/8"))


def stage(name: str, inputs: str, outputs: str) -> Stage:
    """A stage with tensors named by single letters."""
    read, made = (dict.fromkeys(letters, MAP) for letters in (inputs, outputs))
    return Stage(name, f"{name}.onnx", "", VIEW, read, made, {})


def test_stages_run_that_make_what_is_kept_or_what_these_read() -> None:
    stages = [stage("trunk", "i", "f"), stage("names", "i", "n"), stage("score", "f", "sg")]
    for kept, names in {
        "s": ["trunk", "score"],
        "n": ["names"],
        "gn": ["trunk", "names", "score"],
        "": [],
    }.items():
        assert [one.name for one in serving(stages, set(kept))] == names
