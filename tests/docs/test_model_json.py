"""`docs/model-json.md` describes the format that the runtime reads."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path

from deepmask.runtime.model.manifest import (
    LAYER_ROLES,
    ROLES,
    Grid,
    Manifest,
    Scales,
    Stage,
    TensorSpec,
    Views,
)
from deepmask.runtime.model.parse import FORMAT
from deepmask.runtime.model.shipped import shipped_model, shipped_names

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "model-json.md").read_text(encoding="utf-8")


def names(kind: type) -> set[str]:
    return {field.name for field in fields(kind)}


def test_the_example_has_the_keys_of_the_format() -> None:
    first, boxes_only = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    example = json.loads(first)
    assert example.pop("format") == FORMAT
    assert names(Manifest) - set(example) == {"categories", "label_score", "calibration"}
    assert set(example["views"]) == names(Views)
    assert set(example["views"]["scales"]) == names(Scales)
    assert names(Grid) - set(example["grids"][0]) == {"delta", "delta_channel"}
    [anchor] = json.loads(f"{{{boxes_only}}}")["grids"]
    assert names(Grid) - set(anchor) == {"mask_size"}
    [stage] = example["stages"]
    assert names(Stage) - set(stage) == {"grids"}
    assert set(stage) <= names(Stage)
    for tensor in (*stage["inputs"].values(), *stage["outputs"].values()):
        assert set(tensor) == names(TensorSpec)


def test_every_key_and_role_is_explained() -> None:
    keys = set().union(*map(names, (Manifest, Views, Grid, Stage)))
    keys -= {"name", "precision", "scales", "views", "grids", "stages"}  # told by headings
    for word in (*keys, *ROLES, *LAYER_ROLES, "any"):
        assert f"`{word}`" in PAGE, word
    for key in ("grids", "calibration"):
        assert re.search(rf"`{key}`[ ,|]+optional", PAGE), key


def test_the_shipped_models_are_of_this_format() -> None:
    for name in shipped_names():
        shipped = json.loads((shipped_model(name) / "model.json").read_text())
        assert shipped["format"] == FORMAT
