"""Check that the stages of a model fit each other, and its table of grids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from deepmask.runtime.model.manifest import (
    BOXES,
    VIEW,
    WINDOWS,
    Axis,
    Chain,
    Grid,
    ModelFolderError,
    Stage,
    TensorSpec,
    window_chains,
)

_MADE_BY: Mapping[str, tuple[str, ...]] = {
    VIEW: ("map", "score", "delta"),
    WINDOWS: ("map", "mask", "rank"),
    BOXES: ("map", "class", "delta"),
}
_OPTIONAL = ("rank", "delta")
_GIVEN = {VIEW: "image", WINDOWS: "locations", BOXES: "boxes"}
_Known = Mapping[str, TensorSpec]


def check_chain(stages: Sequence[Stage], grids: Sequence[Grid], categories: int) -> None:
    """Raise unless stages run in their order and end in what the runtime and the grids ask for.

    categories  that the model tells apart; of none, no stage may run on boxes. Without such a
                stage, each window has a score for each of them, and no mask.
    Every tensor that is read must have been made before, once for each grid and in the same form.
    Raises `ModelFolderError`.
    """
    for things, what in ((stages, "stages"), (grids, "grids")):
        names = [thing.name for thing in things]
        if len(set(names)) < len(names):
            raise ModelFolderError(f"two {what} have the same name: {', '.join(names):.100}")
    if len({grid.mask_size for grid in grids}) > 1:
        raise ModelFolderError("the grids' masks have different sizes, expected one for all")
    _check_stages(stages, grids)
    before = [stage for stage in stages if stage.per == VIEW]
    on_boxes = [stage for stage in stages if stage.per == BOXES]
    chains = window_chains(stages, grids)
    seen = _run(before)
    _expect(seen, {"image": (VIEW, (1, 3, "height", "width"))})
    _check_scores(seen, grids, 1 if on_boxes or chains else max(1, categories))
    nothing = () if grids[0].mask_size is None else (Chain(tuple(range(len(grids))), ()),)
    for chain in chains or nothing:
        _check_ends(_run([*before, *chain.stages]), chain, grids)
    if on_boxes or chains:
        _check_names(before, on_boxes, categories)
    if len({chain.tensor("rank") == "" for chain in chains}) > 1:
        raise ModelFolderError("some grids' windows get a rank and some none, expected all or none")
    made: dict[str, TensorSpec] = {}
    for stage in stages:
        for name, spec in stage.outputs.items():
            if made.setdefault(name, spec) != spec:
                raise ModelFolderError(
                    f"stage {stage.name} makes {name:.60} in another form than another stage"
                )


def _check_stages(stages: Sequence[Stage], grids: Sequence[Grid]) -> None:
    """Check the stages' order, and the grids they name."""
    names = {grid.name for grid in grids}
    order = list(_GIVEN)
    last = VIEW
    for stage in stages:
        if order.index(stage.per) < order.index(last):
            raise ModelFolderError(
                f"stage {stage.name} runs per {stage.per}, after one that runs on {last}"
            )
        last = stage.per
        if unknown := sorted(set(stage.grids or ()) - names):
            raise ModelFolderError(
                f"stage {stage.name} is for grid {unknown[0]!r:.60}, which is not in the table"
            )


def _run(stages: Sequence[Stage]) -> _Known:
    """Return all tensors of stages that run one after another."""
    known: dict[str, TensorSpec] = {}  # made by a stage, or given by the runtime
    made: set[str] = set()
    for stage in stages:
        where = f"stage {stage.name}"
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
    return known


def _check_scores(known: _Known, grids: Sequence[Grid], scores: int) -> None:
    """Check the maps that stages per view make for grids: `scores` logits a window, and offsets."""
    for grid in grids:
        score = known.get(grid.score)
        if score is None or score.role != "score" or len(score.axes) != 4:
            raise ModelFolderError(f"grid {grid.name} has no score map {grid.score!r:.60}")
        _check_channels(grid, grid.score, grid.channel, scores, score.axes[1])
        if grid.delta is None or grid.delta_channel is None:
            continue
        if grid.mask_size is not None:
            raise ModelFolderError(
                f"grid {grid.name} has mask_size and delta: the windows of masks are not moved"
            )
        delta = known.get(grid.delta)
        if delta is None or delta.role != "delta" or len(delta.axes) != 4:
            raise ModelFolderError(f"grid {grid.name} has no map of offsets {grid.delta!r:.60}")
        _check_channels(grid, grid.delta, grid.delta_channel, 4, delta.axes[1])


def _check_channels(grid: Grid, name: str, first: int, count: int, channels: Axis) -> None:
    if not isinstance(channels, int) or first + count > channels:
        which = f"channel {first}" if count == 1 else f"channels {first} to {first + count - 1}"
        raise ModelFolderError(f"grid {grid.name} is {which} of {name:.60}, which has {channels}")


def _check_names(before: Sequence[Stage], stages: Sequence[Stage], categories: int) -> None:
    """Check what the stages for boxes read of the runtime, and give to it."""
    if (not stages) != (not categories):
        raise ModelFolderError(
            f"{categories} categories and {len(stages)} stages per {BOXES}, expected both or none"
        )
    if not stages:
        return
    seen = _run(before)
    own = {name: spec for name, spec in _run([*before, *stages]).items() if name not in seen}
    _expect(
        own,
        {
            "boxes": (BOXES, ("n", 4)),
            "class": (BOXES, ("n", categories + 1)),
            "delta": (BOXES, ("n", categories, 4)),
        },
    )


def _check_ends(known: _Known, chain: Chain, grids: Sequence[Grid]) -> None:
    """Check what the stages for the windows of some grids read of the runtime, and give to it."""
    size, columns = grids[0].mask_size, 2 if len(grids) == 1 else 3
    whose = "" if len(chain.grids) == len(grids) else f", for {grids[chain.grids[0]].name}"
    if size is None:
        raise ModelFolderError(f"grid {grids[0].name} has no mask_size, and stages per {WINDOWS}")
    _expect(
        known,
        {
            "mask": (WINDOWS, ("n", size, size)),
            "locations": (WINDOWS, ("n", columns)),
            "rank": (WINDOWS, ("n",)),
        },
        whose,
    )


def _expect(
    known: _Known, expected: Mapping[str, tuple[str, tuple[Axis, ...]]], whose: str = ""
) -> None:
    """Raise unless there is one tensor of each role, and of these axes; some may be missing."""
    for role, (per, axes) in expected.items():
        found = [spec.axes for spec in known.values() if spec.role == role]
        if found != [axes] and (role not in _OPTIONAL or found):
            wanted = f"one tensor with the role {role}, ({', '.join(map(str, axes))})"
            raise ModelFolderError(f"expected {wanted}, in a stage that runs per {per}{whose}")
