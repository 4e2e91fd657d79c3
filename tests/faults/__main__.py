"""`python -m tests.faults [--kills 50] [--signal INT] [COMMAND...]`: the long form, in a table."""

from __future__ import annotations

import tempfile
from pathlib import Path
from random import Random
from signal import Signals

import click
import torch

from tests.faults.commands import COMMANDS, Inputs
from tests.faults.kill import kill_at_random


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(COMMANDS)), metavar="[COMMAND...]")
@click.option("--kills", type=click.IntRange(1), default=50, show_default=True)
@click.option("--signal", "name_of", type=click.Choice(["KILL", "INT", "TERM"]), default="KILL")
@click.option("--seed", type=int, default=0, show_default=True)
def main(names: tuple[str, ...], kills: int, name_of: str, seed: int) -> None:
    """Kill each COMMAND, by default all, at random moments; raise if anything is wrong then."""
    torch.set_num_threads(1)  # runs are forked, and OpenMP's threads do not survive that
    with tempfile.TemporaryDirectory(prefix="deepmask-faults-") as temporary:
        folder = Path(temporary)
        inputs = Inputs.make(folder / "inputs")
        for name in names or COMMANDS:
            number, chance = Signals[f"SIG{name_of}"], Random(f"{name} {seed}")
            toll = kill_at_random(COMMANDS[name](inputs), folder, kills, chance, number)
            click.echo(
                f"{name:<8}{toll.kills:4} by {number.name}, {toll.finished:3} runs ended equal to "
                f"an undisturbed one of {toll.seconds:.1f} s"
            )


if __name__ == "__main__":
    main()
