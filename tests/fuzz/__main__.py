"""`python -m tests.fuzz [--inputs 10000] [TARGET...]`: the long form, with a table of counts."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from tests.fuzz.driver import fuzz
from tests.fuzz.worker import TARGETS, make


@click.command()
@click.argument("names", nargs=-1, metavar="[TARGET...]")
@click.option("--inputs", type=click.IntRange(1), default=10_000, show_default=True)
@click.option("--first", type=click.IntRange(0), default=0, help="Number of the first input.")
@click.option("--save", type=int, metavar="N", help="Write input N of the one TARGET to a file.")
def main(names: tuple[str, ...], inputs: int, first: int, save: int | None) -> None:
    """Feed hostile files to each TARGET, by default all; exit code 1 if one is not met cleanly."""
    if unknown := set(names) - set(TARGETS):
        raise click.UsageError(f"{unknown.pop()!r} is not one of: {', '.join(TARGETS)}")
    if save is not None:
        path = Path(f"{names[0].replace(' ', '-')}-{save}")
        path.write_bytes(make(TARGETS[names[0]], save))
        click.echo(f"wrote {path}")
        return
    bad = False
    for name in names or TARGETS:
        report = fuzz([name], inputs, first)[name]
        click.echo(report)
        bad |= bool(report.problems())
    sys.exit(bad)


if __name__ == "__main__":
    main()
