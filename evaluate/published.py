"""Hold the papers' figures, to print beside measured ones.

Sources: DeepMask, Pinheiro, Collobert, Dollár, NIPS 2015, arXiv:1506.06204 (tables 1 and 2);
SharpMask, Pinheiro, Lin, Collobert, Dollár, ECCV 2016, arXiv:1603.08695; thesis, Tsung-Yi Lin,
Cornell 2017, whose chapter 3 is SharpMask (table 3.2: DeepMask-ours with heads A and B, for which
it gives masks only; DeepMask-ours itself is head C. Table 3.3 is SharpMask's. RPN, of a ResNet-50:
§4.4.1, on 5000 other images of COCO, "minival").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

#: Where the papers measured.
COCO_SET = "COCO, first 5000 images of val2014"
VOC_SET = "PASCAL VOC 2007 test"

#: Columns of the papers' tables as (kind, metric), in their order.
COCO_COLUMNS: tuple[tuple[str, str], ...] = (
    ("bbox", "AR@10"),
    ("bbox", "AR@100"),
    ("bbox", "AR@1000"),
    ("bbox", "AUC"),
    ("segm", "AR@10"),
    ("segm", "AR@100"),
    ("segm", "AR@1000"),
    ("segm", "AUC_small"),
    ("segm", "AUC_medium"),
    ("segm", "AUC_large"),
    ("segm", "AUC"),
)
VOC_COLUMNS: tuple[tuple[str, str], ...] = COCO_COLUMNS[:4]


@dataclass(frozen=True)
class Published:
    """A row of a paper's table; None where the paper gives no figure."""

    method: str
    source: str
    values: tuple[float | None, ...]


def _rows(source: str, text: str) -> tuple[Published, ...]:
    """Parse rows written as `method | figures`, with a dash for none; further bars are ignored."""
    rows = []
    for line in text.strip().splitlines():
        method, figures = line.split("|", 1)
        cells = figures.replace("|", " ").split()
        rows.append(
            Published(method.strip(), source, tuple(None if c == "-" else float(c) for c in cells))
        )
    return tuple(rows)


COCO: tuple[Published, ...] = (
    _rows(
        "DeepMask",
        """
    EdgeBoxes        | .074 .178 .338 .139 | -    -    -    | -    -    -    | -
    Geodesic         | .040 .180 .359 .126 | .023 .123 .253 | .013 .086 .205 | .085
    Rigor            | -    .133 .337 .101 | -    .094 .253 | .022 .060 .178 | .074
    Selective Search | .052 .163 .357 .126 | .025 .095 .230 | .006 .055 .214 | .074
    MCG              | .101 .246 .398 .180 | .077 .186 .299 | .031 .129 .324 | .137
    DeepMask20       | .139 .286 .431 .217 | .109 .215 .314 | .020 .227 .317 | .164
    DeepMask20*      | .152 .306 .432 .228 | .123 .233 .314 | .020 .257 .321 | .175
    DeepMaskZoom     | .150 .326 .482 .242 | .127 .261 .366 | .068 .263 .308 | .194
    DeepMaskFull     | .149 .310 .442 .231 | .118 .235 .323 | .020 .244 .342 | .176
    DeepMask         | .153 .313 .446 .233 | .126 .245 .331 | .023 .266 .336 | .183
    """,
    )
    + _rows(
        "thesis",
        """
    DeepMask-ours, A | -    -    -    -    | .140 .258 .334 | .022 .273 .366 | .193
    DeepMask-ours, B | -    -    -    -    | .140 .254 .330 | .020 .270 .369 | .191
    RPN on C4        | -    .361 .483 -    | -    -    -    | -    -    -    | -
    RPN on FPN       | -    .440 .563 -    | -    -    -    | -    -    -    | -
    """,
    )
    + _rows(
        "SharpMask",
        """
    DeepMask-ours    | .187 .349 .465 .262 | .144 .258 .331 | .022 .273 .374 | .194
    SharpMask        | .197 .364 .482 .274 | .156 .276 .355 | .025 .291 .404 | .209
    SharpMaskZoom    | .201 .394 .528 .291 | .161 .303 .392 | .069 .297 .384 | .224
    SharpMaskZoom²   | .192 .399 .550 .292 | .154 .307 .408 | .106 .273 .360 | .225
    """,
    )
)

VOC: tuple[Published, ...] = _rows(
    "DeepMask",
    """
    EdgeBoxes        | .203 .407 .601 .309
    Geodesic         | .121 .364 .596 .230
    Rigor            | .164 .321 .589 .239
    Selective Search | .085 .347 .618 .241
    MCG              | .232 .462 .634 .344
    DeepMask         | .337 .561 .690 .433
    """,
)

#: Columns of AP, and published rows of them: COCO's, and PASCAL VOC's mean AP at IoU 0.5.
AP_COLUMNS = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large")
VOC_AP_COLUMNS = ("VOC_AP11", "VOC_AP")

COCO_AP: tuple[Published, ...] = _rows(
    "thesis",
    """
    Fast R-CNN on FPN, ResNet-50, own proposals | .339 .569 - - - -
    Faster R-CNN on FPN, ResNet-50, shared      | .343 .572 - - - -
    RetinaNet, ResNet-50, 500 px                | .325 .509 .348 .139 .358 .467
    RetinaNet, ResNet-50, 800 px                | .357 .550 .385 .189 .389 .463
    RetinaNet, ResNet-101, 800 px               | .378 .575 .408 .202 .411 .492
    """,
)
#: Fast R-CNN, VGG-16 (DeepMask §4): with Selective Search and with DeepMask's proposals.
VOC_AP: tuple[Published, ...] = _rows(
    "DeepMask",
    """
    Fast R-CNN, 2000 of Selective Search | .669 -
    Fast R-CNN, 100 of DeepMask          | .682 -
    Fast R-CNN, 500 of DeepMask          | .699 -
    """,
)

#: By the kind of data set: where measured, the columns, the rows.
TABLES: Mapping[str, tuple[str, tuple[tuple[str, str], ...], tuple[Published, ...]]] = {
    "coco": (COCO_SET, COCO_COLUMNS, COCO),
    "voc": (VOC_SET, VOC_COLUMNS, VOC),
}
