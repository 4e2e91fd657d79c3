"""Check that the stages of a model fit each other, and its table of grids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from deepmask.runtime.model.manifest import (
    VIEW,
    WINDOWS,
    Axis,
    Grid,
    ModelFolderError,
    Stage,
    TensorSpec,
)

_MADE_BY: Mapping[str, tuple[str, ...]] = {VIEW: ("map", "score"), WINDOWS: ("map", "mask")}
_GIVEN = {VIEW: "image", WINDOWS: "locations"}


def check_chain(stages: Sequence[Stage], grids: Sequence[Grid]) -> None:
    """Raise unless stages run in their order and end in what the runtime and the grids ask for.

    Every tensor that is read must have been made before, once and in the same form. Raises
    `ModelFolderError`.
    """
    for things, what in ((stages, "stages"), (grids, "grids")):
        names = [thing.name for thing in things]
        if len(set(names)) < len(names):
            raise ModelFolderError(f"two {what} have the same name: {', '.join(names):.100}")
    if len({grid.mask_size for grid in grids}) > 1:
        raise ModelFolderError("the grids' masks have different sizes, expected one for all")
    size = grids[0].mask_size
    known: dict[str, TensorSpec] = {}  # made by a stage, or given by the runtime
    made: set[str] = set()
    last = VIEW
    for stage in stages:
        where = f"stage {stage.name}"
        if (last, stage.per) == (WINDOWS, VIEW):
            raise ModelFolderError(f"{where} runs per view, after one that runs on windows")
        last = stage.per
        for name, spec in stage.inputs.items():
            if spec.role == _GIVEN[stage.per] and name not in made:
                known.setdefault(name, spec)
            elif name not in made:
                raise ModelFolderError(f"{where} reads {name:.60}, which nothing before it makes")
            if known[name] != spec:
                raise ModelFolderError(f"{where} reads {name:.60} in another form than it has")
        for name, spec in stage.outputs.items():
            if name in known or spec.role not in _MADE_BY[stage.per]:
                raise ModelFolderError(
                    f"{where} makes {name:.60} as {spec.role}, expected a new name and "
                    f"one of {', '.join(_MADE_BY[stage.per])}"
                )
            known[name] = spec
            made.add(name)
    _require_one(stages, "image", VIEW, (1, 3, "height", "width"))
    _require_one(stages, "mask", WINDOWS, ("n", size, size))
    columns = 2 if len(grids) == 1 else 3
    _require_one(stages, "locations", WINDOWS, ("n", columns))
    for grid in grids:
        score = known.get(grid.score)
        if score is None or score.role != "score" or len(score.axes) != 4:
            raise ModelFolderError(f"grid {grid.name} has no score map {grid.score!r:.60}")
        channels = score.axes[1]
        if not isinstance(channels, int) or grid.channel >= channels:
            raise ModelFolderError(
                f"grid {grid.name} is channel {grid.channel} of {grid.score:.60}, "
                f"which has {channels}"
            )


def _require_one(stages: Sequence[Stage], role: str, per: str, axes: tuple[Axis, ...]) -> None:
    """Raise unless the stages of a kind have just one tensor of a role, with these axes."""
    found = {
        name: spec
        for stage in stages
        for name, spec in {**stage.inputs, **stage.outputs}.items()
        if spec.role == role
    }
    shown = ", ".join(map(str, axes))
    if len(found) != 1 or next(iter(found.values())).axes != axes:
        raise ModelFolderError(
            f"expected one tensor with the role {role}, ({shown}), in a stage that runs per {per}"
        )
