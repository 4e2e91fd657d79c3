"""`python -m tests.load [--images 2000] [--model DIR]`: the long form, with its figures."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import click

from deepmask import DeepMask
from tests.load.many import answer, by_threads, differing, grows, picture, run_many
from tests.runtime.square_model import write_square_model


@click.command()
@click.option("--images", type=click.IntRange(100), default=2000, show_default=True)
@click.option("--model", type=click.Path(path_type=Path), help="[default: the tests' own]")
def main(images: int, model: Path | None) -> None:
    """Send images through one process, and some of them one by one and by threads.

    Exit code 1 if an answer differs, or if memory or open files grow.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = model or write_square_model(Path(temporary, "squares"))
        with DeepMask.load(folder, device="cpu", threads=1) as shared:
            course = []
            for count, now in enumerate(run_many(shared, images, images // 10), 1):
                course.append(now)
                held = f"{now.memory / 1e6:7.1f} MB  {now.handles} handles"
                click.echo(f"{count * (images // 10):6} images  {held}")
            some = range(images // 10)
            threaded = by_threads(shared, len(some), threads=4)
        alone = []
        for number in some:
            with DeepMask.load(folder, device="cpu", threads=1) as single:
                alone.append(answer(single(picture(number), proposals=50)))
        with DeepMask.load(folder, device="cpu", threads=1) as shared:
            different = differing(shared, alone)
        wrong = [number for number in some if threaded[number] != alone[number]]
        click.echo(f"{len(some)} images one by one: {len(different)} differ")
        click.echo(f"{len(some)} images by four threads: {len(wrong)} differ")
        grown = grows(course)
        if grown:
            click.echo("memory or handles grow")
        sys.exit(bool(different or wrong or grown))


if __name__ == "__main__":
    main()
