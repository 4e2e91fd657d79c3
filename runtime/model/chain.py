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
    VIEW: ("map", "score"),
    WINDOWS: ("map", "mask", "rank"),
    BOXES: ("map", "class", "delta"),
}
_GIVEN = {VIEW: "image", WINDOWS: "locations", BOXES: "boxes"}
_Known = Mapping[str, TensorSpec]


def check_chain(stages: Sequence[Stage], grids: Sequence[Grid], categories: int) -> None:
    """Raise unless stages run in their order and end in what the runtime and the grids ask for.

    categories  that the model tells apart; of none, no stage may run on boxes.
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
    chains = window_chains(stages, grids)
    for chain in chains:
        known = _run([*before, *chain.stages])
        _check_ends(known, chain, grids)
        _check_scores(known, grids)
    _check_names(before, [stage for stage in stages if stage.per == BOXES], categories)
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


def _check_scores(known: _Known, grids: Sequence[Grid]) -> None:
    for grid in grids:
        score = known.get(grid.score)
        if score is None or score.role != "score" or len(score.axes) != 4:
            raise ModelFolderError(f"grid {grid.name} has no score map {grid.score!r:.60}")
        channels = score.axes[1]
        if not isinstance(channels, int) or grid.channel >= channels:
            where = f"grid {grid.name} is channel {grid.channel} of {grid.score:.60}"
            raise ModelFolderError(f"{where}, which has {channels}")


def _check_names(before: Sequence[Stage], stages: Sequence[Stage], categories: int) -> None:
    """Check what the stages for boxes read of the runtime, and give to it."""
    if (not stages) != (not categories):
        raise ModelFolderError(
            f"{categories} categories and {len(stages)} stages per {BOXES}, expected both or none"
        )
    if not stages:
        return
    known = _run([*before, *stages])
    expected: dict[str, tuple[Axis, ...]] = {
        "boxes": ("n", 4),
        "class": ("n", categories + 1),
        "delta": ("n", categories, 4),
    }
    for role, axes in expected.items():
        found = [spec.axes for spec in known.values() if spec.role == role]
        if found != [axes] and (role != "delta" or found):
            wanted = f"one tensor with the role {role}, ({', '.join(map(str, axes))})"
            raise ModelFolderError(f"expected {wanted}, in a stage that runs per {BOXES}")


def _check_ends(known: _Known, chain: Chain, grids: Sequence[Grid]) -> None:
    """Check what the stages for the windows of some grids read of the runtime, and give to it."""
    size, columns = grids[0].mask_size, 2 if len(grids) == 1 else 3
    expected: dict[str, tuple[str, tuple[Axis, ...]]] = {
        "image": (VIEW, (1, 3, "height", "width")),
        "mask": (WINDOWS, ("n", size, size)),
        "locations": (WINDOWS, ("n", columns)),
        "rank": (WINDOWS, ("n",)),
    }
    for role, (per, axes) in expected.items():
        found = [spec.axes for spec in known.values() if spec.role == role]
        if found != [axes] and (role != "rank" or found):
            wanted = f"one tensor with the role {role}, ({', '.join(map(str, axes))})"
            whose = "" if len(chain.grids) == len(grids) else f", for {grids[chain.grids[0]].name}"
            raise ModelFolderError(f"expected {wanted}, in a stage that runs per {per}{whose}")
