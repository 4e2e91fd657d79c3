"""Kill commands at random moments; check what is left, finish it, compare it with a whole run.

Commands run in forks of a process that has imported everything and started no thread, so that a
kill hits the command's work and not the import of its libraries.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import deepmask.evaluate.cli
import deepmask.evaluate.evaluator
import deepmask.export.cli
import deepmask.export.exporter
import deepmask.runtime.cli.batch
import deepmask.runtime.cli.run
import deepmask.train.cli
import deepmask.train.run
from deepmask.networks.presets import PRESETS
from tests.faults.commands import TINY, Command, build_plans, emptied

_MAINS: dict[str, Callable[[], object]] = {
    "train": lambda: deepmask.train.cli.main(sys.argv[1:]),
    "export": deepmask.export.cli.main,
    "eval": deepmask.evaluate.cli.main,
    "run": deepmask.runtime.cli.run.main,
    "build": lambda: build_plans(*map(Path, sys.argv[1:])),
}
#: After so many kills in a row a run is left alone, so that it comes to its end.
MOST_IN_A_ROW = 4


@dataclass
class Toll:
    """How often a command was killed and finished. If anything was wrong, there is an exception."""

    kills: int = 0
    finished: int = 0
    seconds: float = 0.0


def kill_at_random(
    command: Command,
    folder: Path,
    kills: int,
    chance: Random,
    number: signal.Signals = signal.SIGKILL,
) -> Toll:
    """Send a command so many signals; raises `AssertionError` if anything is wrong."""
    undisturbed, toll = emptied(folder / "undisturbed"), Toll()
    start = time.monotonic()
    _finish(command, undisturbed)
    toll.seconds = time.monotonic() - start
    command.require_whole(undisturbed)
    expected = command.content(undisturbed)
    while toll.kills < kills:
        place = emptied(folder / "killed")
        for _ in range(MOST_IN_A_ROW):
            if not _killed(command, place, chance.uniform(0, toll.seconds), number):
                break
            toll.kills += 1
            command.require_whole(place)
        _finish(command, place)
        assert command.content(place) == expected, f"{command.name}: differs from undisturbed"
        toll.finished += 1
    return toll


def _killed(command: Command, folder: Path, after: float, number: signal.Signals) -> bool:
    """Start the command and send it a signal after some seconds; False if it had finished by then.

    Ctrl-C and SIGTERM must end it in one line.
    """
    child = _start(command, folder)
    deadline = time.monotonic() + after
    while time.monotonic() < deadline:
        if os.waitpid(child, os.WNOHANG)[0]:
            return False
        time.sleep(0.002)
    os.kill(child, number)
    _, status = os.waitpid(child, 0)
    said = (folder.parent / "said.txt").read_text(errors="replace")
    assert "Traceback" not in said, f"{command.name}: {said[-3000:]}"
    return os.waitstatus_to_exitcode(status) != 0


def _finish(command: Command, folder: Path) -> None:
    _, status = os.waitpid(_start(command, folder), 0)
    code = os.waitstatus_to_exitcode(status)
    said = (folder.parent / "said.txt").read_text(errors="replace")
    assert code == 0, f"{command.name} ended with {code}: {said[-3000:]}"


def _start(command: Command, folder: Path) -> int:
    """Run the command in a fork; what it prints goes to said.txt beside the folder."""
    arguments = command.arguments(folder)
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        said = os.open(folder.parent / "said.txt", os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        os.dup2(said, 1)
        os.dup2(said, 2)
        PRESETS["deepmask-r18"] = replace(PRESETS["deepmask-r18"], config=TINY)
        sys.argv = arguments
        _MAINS[arguments[0]]()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except KeyboardInterrupt:  # before the command had begun
        code = 130
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
