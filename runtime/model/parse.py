"""Parse and check the values of a `model.json` that anyone may have written."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar

from deepmask.runtime.model.chain import check_chain
from deepmask.runtime.model.half_recall import HalfRecall
from deepmask.runtime.model.manifest import (
    BOXES,
    LAYER_ROLES,
    ROLES,
    VIEW,
    WINDOWS,
    Axis,
    Category,
    Coarse,
    Grid,
    Manifest,
    ModelFolderError,
    Scales,
    Stage,
    TensorSpec,
    Views,
    checked_scales,
)
from deepmask.runtime.validation import boolean, check_keys, integer, items, mapping, number, text

FORMAT = "deepmask-model/2"
_OPTIONAL = ("categories", "label_score", "coarse", "calibration", "half")
#: Largest side of a mask: a thousand of them take a gigabyte.
LARGEST_MASK = 512
#: Most rows of the table of grids, stages, tensors of a stage, and axes of a tensor.
MOST_GRIDS, MOST_STAGES, MOST_TENSORS, MOST_AXES = 64, 16, 64, 8
#: Largest side of a window, and number of a channel.
LARGEST_WINDOW, MOST_CHANNELS = 8192, (1 << 20) - 1
#: Largest id of a category.
MOST_ID = (1 << 31) - 1

#: Most pairs of a calibration, and categories.
MOST_PAIRS, MOST_CATEGORIES = 1000, 10_000

_AXIS = re.compile(r"(height|width)(/[1-9]\d{0,3})?|rows|cols|n|any")
#: Types of tensors by role; of the others float32.
_DTYPES = {"locations": ("int64",), "map": ("float32", "int64")}
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\.onnx")
_T = TypeVar("_T")


def parse_manifest(content: dict[str, Any]) -> Manifest:
    """Return the manifest that a JSON object describes.

    Raises `ContentError` or `ModelFolderError` for a key, type, range or tensor that is not as it
    must be; the text is one line without the file's name.
    """
    content = {**dict.fromkeys(_OPTIONAL), **content}
    check_keys(content, {field.name for field in fields(Manifest)} | {"format"}, "")
    threshold = number(content, "threshold", 0, 1)
    if threshold in (0, 1):
        raise ModelFolderError(f"threshold is {threshold}, it must lie between 0 and 1")
    views = _views(mapping(content, "views"))
    categories = _categories(content)
    grids, stages = _parts(content, views, categories)
    coarse = None
    if content["coarse"] is not None:
        values = mapping(content, "coarse")
        check_keys(values, {"grids", "stages"}, "coarse: ")
        coarse = Coarse(*_parts(values, views, categories))
    manifest = Manifest(
        name=text(content, "name"),
        precision=text(content, "precision"),
        views=views,
        grids=grids,
        stages=stages,
        threshold=threshold,
        overlap=number(content, "overlap", 0, 1),
        scale_prior=number(content, "scale_prior", -10, 10),
        categories=categories,
        coarse=coarse,
        about=mapping(content, "about"),
        calibration=_calibration(content),
        label_score=_label_score(content),
        half=_half(content),
    )
    if coarse is not None and manifest.coarse_form().ranks != manifest.ranks:
        raise ModelFolderError("coarse: only one of the two forms has ranks, expected the same")
    return manifest


def _views(values: dict[str, Any]) -> Views:
    check_keys(values, {field.name for field in fields(Views)}, "views: ")
    return Views(
        scales=_scales(mapping(values, "scales")),
        max_side=integer(values, "max_side", 1, 100_000),
        enlarge=boolean(values, "enlarge"),
        border=integer(values, "border", 0, 8192),
        fill=number(values, "fill", 0, 255),
        multiple=integer(values, "multiple", 1, 4096),
    )


def _scales(values: dict[str, Any]) -> Scales:
    check_keys(values, {"start", "stop", "step"}, "scales: ")
    return checked_scales(*(number(values, key, -100, 100) for key in ("start", "stop", "step")))


def _categories(values: dict[str, Any]) -> tuple[Category, ...] | None:
    if values["categories"] is None:
        return None
    found = _rows(values, "categories", MOST_CATEGORIES, _category)
    for what, all_of_them in (
        ("id", [one.id for one in found]),
        ("name", [one.name for one in found]),
    ):
        if twice := [one for one, count in Counter(all_of_them).items() if count > 1]:
            raise ModelFolderError(f"two categories have the {what} {twice[0]!r:.60}")
    return found


def _category(values: dict[str, Any]) -> Category:
    check_keys(values, {field.name for field in fields(Category)}, "categories: ")
    name = text(values, "name")
    if not name.strip():
        raise ModelFolderError("the name of a category is blank, expected letters")
    return Category(integer(values, "id", 0, MOST_ID), name)


def _label_score(values: dict[str, Any]) -> float | None:
    if (values["label_score"] is None) != (values["categories"] is None):
        raise ModelFolderError("only one of categories and label_score is there, expected both")
    return None if values["label_score"] is None else number(values, "label_score", 0, 1)


def _half(values: dict[str, Any]) -> HalfRecall | None:
    if values["half"] is None:
        return None
    own = mapping(values, "half")
    check_keys(own, {field.name for field in fields(HalfRecall)}, "half: ")
    fp32, fp16 = (number(own, key, 0, 1) for key in ("fp32", "fp16"))
    return HalfRecall(fp32, fp16, integer(own, "pictures", 1, 10**9))


def _calibration(values: dict[str, Any]) -> tuple[tuple[float, float], ...] | None:
    if values["calibration"] is None:
        return None
    pairs = []
    for row in items(values, "calibration", 1, MOST_PAIRS):
        score, value = items({"a pair of calibration": row}, "a pair of calibration", 2, 2)
        pair = {"score": score, "value": value}
        pairs.append((number(pair, "score", 0, 1), number(pair, "value", 0, 1)))
    for (score, value), (next_score, next_value) in itertools.pairwise(pairs):
        if next_score <= score or next_value < value:
            raise ModelFolderError(
                f"calibration has [{next_score:g}, {next_value:g}] after [{score:g}, {value:g}], "
                "expected a higher score and no lower value"
            )
    return tuple(pairs)


def _parts(
    values: dict[str, Any], views: Views, categories: tuple[Category, ...] | None
) -> tuple[tuple[Grid, ...], tuple[Stage, ...]]:
    """Parse the table of grids and the stages of a model or of its coarse form."""
    grids = _rows(values, "grids", MOST_GRIDS, lambda row: _grid(row, views))
    stages = _rows(values, "stages", MOST_STAGES, _stage)
    check_chain(stages, grids, len(categories or ()))
    return grids, stages


def _rows(
    values: dict[str, Any], key: str, most: int, parse: Callable[[dict[str, Any]], _T]
) -> tuple[_T, ...]:
    rows = items(values, key, 1, most)
    return tuple(parse(mapping({f"a row of {key}": row}, f"a row of {key}")) for row in rows)


def _grid(values: dict[str, Any], views: Views) -> Grid:
    values = {**dict.fromkeys(("mask_size", "delta", "delta_channel")), **values}  # optional
    check_keys(values, {field.name for field in fields(Grid)}, "grids: ")
    if (values["delta"] is None) != (values["delta_channel"] is None):
        raise ModelFolderError("grids: only one of delta and delta_channel is there, expected both")
    is_moved, has_masks = values["delta"] is not None, values["mask_size"] is not None
    grid = Grid(
        name=text(values, "name"),
        score=text(values, "score"),
        channel=integer(values, "channel", 0, MOST_CHANNELS),
        stride=integer(values, "stride", 1, 1024),
        window=_window(values),
        mask_size=integer(values, "mask_size", 2, LARGEST_MASK) if has_masks else None,
        offset=number(values, "offset", 0, 1),
        delta=text(values, "delta") if is_moved else None,
        delta_channel=integer(values, "delta_channel", 0, MOST_CHANNELS) if is_moved else None,
    )
    if views.multiple % grid.stride:
        raise ModelFolderError(
            f"grid {grid.name} has stride {grid.stride}, which must divide the canvas's multiple, "
            f"{views.multiple}"
        )
    return grid


def _window(values: dict[str, Any]) -> int | tuple[float, float]:
    """Return a window's side in pixels, or its height and width."""
    if not isinstance(values["window"], list):
        return integer(values, "window", 1, LARGEST_WINDOW)
    height, width = items(values, "window", 2, 2)
    sides = {"height of a window": height, "width of a window": width}
    high, wide = (number(sides, key, 1, LARGEST_WINDOW) for key in sides)
    return high, wide


def _stage(values: dict[str, Any]) -> Stage:
    values = {"grids": None, **values}  # optional
    check_keys(values, {field.name for field in fields(Stage)}, "stages: ")
    name, file, checksum = text(values, "name"), text(values, "file"), text(values, "sha256")
    where, per = f"stage {name}: ", values["per"]
    if not _FILE.fullmatch(file):
        raise ModelFolderError(
            f"{where}{file!r:.100} is not a plain .onnx file name in the model's own folder"
        )
    if not re.fullmatch(r"[0-9a-f]{64}", checksum):
        raise ModelFolderError(f"{where}sha256 is not 64 hexadecimal digits")
    if per not in (VIEW, WINDOWS, BOXES):
        raise ModelFolderError(f"{where}per is {per!r:.60}, expected {VIEW}, {WINDOWS} or {BOXES}")
    inputs, outputs = (_tensors(values, side, where) for side in ("inputs", "outputs"))
    layers = _layers(mapping(values, "layers"), where)
    grids = None
    if values["grids"] is not None:
        if per != WINDOWS:
            raise ModelFolderError(f"{where}it has grids and runs per {per}: leave grids out")
        names = items(values, "grids", 1, MOST_GRIDS)
        grids = tuple(text({f"{where}a grid": grid}, f"{where}a grid") for grid in names)
    return Stage(name, file, checksum, per, inputs, outputs, layers, grids)


def _layers(values: dict[str, Any], where: str) -> dict[str, tuple[str, ...]]:
    if unknown := sorted(set(values) - set(LAYER_ROLES)):
        raise ModelFolderError(
            f"{where}layers of role {unknown[0]!r:.60}, expected {', '.join(LAYER_ROLES)}"
        )
    return {
        role: tuple(text({"layer": name}, "layer") for name in items(values, role, 1, MOST_TENSORS))
        for role in values
    }


def _tensors(values: dict[str, Any], side: str, where: str) -> dict[str, TensorSpec]:
    tensors = mapping(values, side)
    if not 0 < len(tensors) <= MOST_TENSORS:
        raise ModelFolderError(f"{where}{side} are {len(tensors)}, expected 1 to {MOST_TENSORS}")
    return {
        text({"tensor": name}, "tensor"): _tensor(mapping(tensors, name), f"{where}{name:.60}: ")
        for name in tensors
    }


def _tensor(values: dict[str, Any], where: str) -> TensorSpec:
    check_keys(values, {field.name for field in fields(TensorSpec)}, where)
    role, dtype = values["role"], values["dtype"]
    if role not in ROLES:
        raise ModelFolderError(f"{where}role is {role!r:.60}, expected {', '.join(ROLES)}")
    wanted = _DTYPES.get(role, ("float32",))
    if dtype not in wanted:
        raise ModelFolderError(f"{where}dtype is {dtype!r:.60}, expected {' or '.join(wanted)}")
    axes = tuple(_axis(axis, where) for axis in items(values, "axes", 1, MOST_AXES))
    return TensorSpec(role, dtype, axes)


def _axis(value: object, where: str) -> Axis:
    if isinstance(value, str) and _AXIS.fullmatch(value):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 31:
        return value
    raise ModelFolderError(
        f"{where}an axis is {value!r:.60}, expected a size, height, width, height/N, width/N, "
        "rows, cols, n or any"
    )
