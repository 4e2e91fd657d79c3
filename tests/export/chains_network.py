"""A small network in the shape of `fpn-lite`: a pyramid seen once, tables, and a second look.

Depthwise layers and ReLU6, two levels, a window of 6 and one of 8 strides at each location: four
grids, stages of their own for the windows of either size. The reference reads windows one by one
from padded maps, without tables.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepmask.networks.dense.graphs import DenseForm, DenseGraph, DenseModel, Description
from deepmask.networks.window_table import gather_windows, table_of
from deepmask.runtime.model.manifest import VIEW, WINDOWS, Grid, Scales, TensorSpec, Views

STRIDES, SIDES, MASK_SIZE, FILL = (8, 16), {"a": 6, "b": 8}, 8, 127.0
#: Cells read for a window, the location in the middle, and cells of zero around a level.
CELLS, MARGIN = {"a": 7, "b": 9}, 4
WIDTH, CODE = 12, 16
GRIDS = tuple(
    Grid(f"s{stride}{size}", f"score{stride}", k, stride, SIDES[size] * stride, MASK_SIZE, 0.5)
    for stride in STRIDES
    for k, size in enumerate(SIDES)
)


class Pyramid(nn.Module):
    """(1, 3, H, W) RGB of 0…255 → two levels (1, WIDTH, h, w), first logits (1, 4, h, w) of each.

    First logits are objectness and quality of either window.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 4, 4)
        self.depthwise = nn.Conv2d(8, 8, 3, 2, padding=1, groups=8)
        self.pointwise = nn.Conv2d(8, WIDTH, 1)
        self.down = nn.Conv2d(WIDTH, WIDTH, 2, 2)
        self.above = nn.Conv2d(WIDTH, WIDTH, 1)
        self.score = nn.Conv2d(WIDTH, 4, 1)

    def forward(self, image: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        x = F.relu6(self.stem(image / FILL - 1))
        x = F.relu6(self.depthwise(x))
        near = self.pointwise(x)
        far = torch.relu(self.down(near))
        near = torch.relu(near + F.interpolate(self.above(far), scale_factor=2.0, mode="nearest"))
        return [near, far], [self.score(level) for level in (near, far)]


class Look(nn.Module):
    """Cells of N windows (N, WIDTH, n, n) and their first logits (N, 2) → masks and ranks."""

    def __init__(self, cells: int) -> None:
        super().__init__()
        self.encode = nn.Linear(WIDTH * cells**2, CODE)
        self.mask = nn.Linear(CODE, MASK_SIZE**2)
        self.hidden = nn.Linear(CODE, CODE)
        self.rank = nn.Linear(CODE, 1)

    def forward(self, cells: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
        code = torch.relu(self.encode(cells.permute(0, 2, 3, 1).flatten(1)))
        rank = self.rank(torch.relu(self.hidden(code)))[:, 0]
        mask = self.mask(code).unflatten(1, (MASK_SIZE, MASK_SIZE))
        return mask, joined(rank, joined(first[:, 0], first[:, 1]))


def joined(one: Tensor, other: Tensor) -> Tensor:
    """The logit of the geometric mean of two logits' probabilities."""
    # ONNX has no LogSigmoid, and PyTorch writes Log(Sigmoid(x)) for it, which is -inf below -88.
    log = -(F.softplus(-one) + F.softplus(-other)) / 2
    return log - torch.log(-torch.expm1(log.clamp(max=-1e-7)))


class ScoreStage(nn.Module):
    """image → scores of each level, tables of cells and of first logits, where they begin."""

    def __init__(self, pyramid: Pyramid) -> None:
        super().__init__()
        self.pyramid = pyramid

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        levels, first = self.pyramid(image)
        layout, start = [], 0
        # Of the image: whose shape is asked for is kept as it is, and not joined with what follows.
        for stride in STRIDES:
            height, width = image.shape[2] // stride, image.shape[3] // stride
            pitch = width + 2 * MARGIN
            columns = (start + MARGIN * (pitch + 1), pitch)
            row = torch.stack([torch.scalar_tensor(v, dtype=torch.int64) for v in columns])
            layout += [row] * len(SIDES)
            start = start + (height + 2 * MARGIN) * pitch
        tables = (table_of(levels, MARGIN), table_of(first, MARGIN))
        return *map(scores_of, first), *tables, torch.stack(layout)


def scores_of(first: Tensor) -> Tensor:
    """(1, 4, h, w) first logits → (1, 2, h, w) logits, which choose windows."""
    return joined(first[:, ::2], first[:, 1::2])


class MaskStage(nn.Module):
    """Masks and ranks of windows of one size, from the tables."""

    def __init__(self, look: Look, size: str) -> None:
        super().__init__()
        self.look = look
        self.cells, self.channel = CELLS[size], 2 * list(SIDES).index(size)

    def forward(
        self, context: Tensor, first: Tensor, layout: Tensor, locations: Tensor
    ) -> tuple[Tensor, Tensor]:
        origin, pitch = layout[locations[:, 0]].unbind(1)
        middle = origin + locations[:, 1] * pitch + locations[:, 2]
        corner = middle - self.cells // 2 * (pitch + 1)
        cells = gather_windows(context, corner, pitch, self.cells)
        logits = F.embedding(middle, first)[:, self.channel : self.channel + 2]
        mask, rank = self.look(cells, logits)
        return mask, rank


class Chains(nn.Module):
    """The network."""

    def __init__(self) -> None:
        super().__init__()
        self.pyramid = Pyramid()
        self.looks = nn.ModuleDict({size: Look(cells) for size, cells in CELLS.items()})


def random_chains() -> Chains:
    """The same random network each time, in evaluation mode; logits are spread like trained ones.

    Some first logits are far below what float16 has a probability for.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Chains()
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight)
        nn.init.normal_(network.pyramid.score.weight, std=1.0)
        assert network.pyramid.score.bias is not None
        nn.init.constant_(network.pyramid.score.bias, -9.0)
    return network.eval()


def dense_chains(network: Chains, own_names: bool = False) -> DenseModel:
    """Return the graphs; with `own_names` masks and ranks of each size are tensors of their own."""
    image = {"image": TensorSpec("image", "float32", (1, 3, "height", "width"))}
    scores = {
        f"score{stride}": TensorSpec(
            "score", "float32", (1, len(SIDES), f"height/{stride}", f"width/{stride}")
        )
        for stride in STRIDES
    }
    tables = {
        "context": TensorSpec("map", "float32", ("any", WIDTH)),
        "first": TensorSpec("map", "float32", ("any", 4)),
        "layout": TensorSpec("map", "int64", (len(GRIDS), 2)),
    }
    locations = {"locations": TensorSpec("locations", "int64", ("n", 3))}
    graphs = [
        DenseGraph(
            *("score", "score", VIEW, ScoreStage(network.pyramid), image, {**scores, **tables}),
            layers={"normalisation": ("pyramid.stem.weight",), "score": ("pyramid.score.weight",)},
        )
    ]
    mask = TensorSpec("mask", "float32", ("n", MASK_SIZE, MASK_SIZE))
    for size, look in network.looks.items():
        assert isinstance(look, Look)
        end = f"_{size}" if own_names else ""
        made = {f"mask{end}": mask, f"rank{end}": TensorSpec("rank", "float32", ("n",))}
        grids = tuple(grid.name for grid in GRIDS if grid.name.endswith(size))
        stage = MaskStage(look, size)
        graphs.append(
            DenseGraph(
                *(f"mask-{size}", f"mask-{size}", WINDOWS, stage, {**tables, **locations}, made),
                layers={"code": ("look.encode.weight",), "score": ("look.rank.weight",)},
                grids=grids,
            )
        )

    def reference(canvas: Tensor, places: Tensor) -> dict[str, Tensor]:
        levels, first = network.pyramid(canvas)
        found = {name: scores_of(one) for name, one in zip(scores, first, strict=True)}
        made: list[tuple[Tensor, Tensor]] = []
        for grid, row, col in places.tolist():
            level, size = levels[grid // 2], list(SIDES)[grid % 2]
            half, look = CELLS[size] // 2, network.looks[size]
            padded = F.pad(level, (half, half, half, half))
            cells = padded[:, :, row : row + 2 * half + 1, col : col + 2 * half + 1]
            logits = first[grid // 2][:, 2 * (grid % 2) : 2 * (grid % 2) + 2, row, col]
            made.append(look(cells, logits))
        masks, ranks = (torch.cat(one) for one in zip(*made, strict=True))
        for end in [f"_{size}" for size in SIDES] if own_names else [""]:
            found |= {f"mask{end}": masks, f"rank{end}": ranks}
        return found

    return DenseModel(DenseForm(tuple(graphs), reference))


def describe_chains() -> Description:
    """Return one view and the four grids."""
    return Description(
        views=Views(Scales(0, 0, 1), 128, True, 0, FILL, STRIDES[-1]),
        grids=GRIDS,
        threshold=0.5,
        calibration=((0.0, 0.0), (1.0, 0.9)),
    )
