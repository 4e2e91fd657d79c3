"""Options that say what is an object, and how results are written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from deepmask.runtime.cli.options import IOU, OUTPUT, option

F = TypeVar("F", bound=Callable[..., Any])

#: As in `runtime.io.formats`, and COCO's; stated here so that --help is quick.
KINDS = ("coco", "labelme", "yolo-seg", "png", "cutout")
#: The options that are arguments of `Proposals.objects`.
_CHOOSING = ("top", "min_score", "nms", "parts", "flat")
#: Proposals that objects are chosen from.
POOL = 1000


def result_options(command: F) -> F:
    """Declare the options on a command's function."""
    for declare in reversed(_OPTIONS):
        command = declare(command)
    return command


def objects_arguments(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of `Proposals.objects`."""
    return {name: options[name] for name in _CHOOSING}


_OPTIONS = (
    click.option(
        "--objects",
        is_flag=True,
        help="Write the distinct objects, as the picture and the table show them: result n of an "
        "image is object n. This is the default without --proposals.",
    ),
    click.option(
        "--proposals",
        type=click.IntRange(1),
        metavar="N",
        help="Write the best N proposals instead, many to an object, as evaluation wants them; "
        f"with --objects: choose among so many.  [default: objects among {POOL}]",
    ),
    option("--top", type=click.IntRange(1, 65535), default=20, help="Maximum number of objects."),
    click.option(
        "--min-score",
        type=IOU,
        help="Least score of an object.  [default: 0.3 of the image's best; what ranks far "
        "down the list is no object, either]",
    ),
    option(
        "--nms",
        type=IOU,
        default=0.5,
        help="Leave out what overlaps a better object by more than this IoU.",
    ),
    click.option(
        "--parts", is_flag=True, help="Keep parts of objects and groups of them as objects, too."
    ),
    click.option(
        "--labels/--no-labels",
        default=None,
        help="Tell what the objects are, of those among the first 100 proposals; later ones keep "
        "no name.  [default: if the model has categories]",
    ),
    click.option(
        "--categories",
        metavar="NAME,NAME…",
        help="Keep only objects of these categories of the model's, names or ids; 'object' stands "
        "for those without a name.",
    ),
    click.option(
        "--label-score",
        type=IOU,
        help="Least probability of a category at which an object gets its name.  "
        "[default: the model's]",
    ),
    click.option(
        "--flat",
        is_flag=True,
        help="Let no two objects share a pixel: the smaller one has it.",
    ),
    option(
        "--format",
        "kind",
        type=click.Choice(KINDS),
        default="coco",
        help="Write objects as COCO results, labelme's JSON, YOLO's segmentation labels, PNGs of "
        "16 bits with each pixel's object number, or cut-outs with transparency.",
    ),
    click.option(
        "--out",
        type=OUTPUT,
        help="File of COCO results; a second file, OUT with the suffix .images.json, tells which "
        "image each image_id is. For another format the folder.  [default: proposals.json; "
        "labelme: beside each image; yolo-seg: labels; png: masks; cutout: cutouts]",
    ),
    click.option(
        "--overlay",
        type=OUTPUT,
        help="Picture to draw the objects in; for several images a folder of such pictures, for a "
        "video a video.",
    ),
    click.option(
        "--html",
        type=OUTPUT,
        metavar="FILE",
        help="Page that shows all images with their objects in a browser, without any other file.",
    ),
)
