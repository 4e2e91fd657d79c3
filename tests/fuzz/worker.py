"""Feed readers in a process of its own, which may be killed, hang or exceed its limits.

`report` in its folder gets a line of JSON for each finished target, and for each finding.
`progress` always holds the current input, in case no line can be written.
"""

from __future__ import annotations

import faulthandler
import json
import resource
import signal
import sys
import time
import traceback
import warnings
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any, NoReturn

from tests.fuzz import checkpoints, labels, models, pictures
from tests.fuzz.mutations import Target

_ROOMS = (pictures, models, labels, checkpoints)
TARGETS = {target.name: target for room in _ROOMS for target in room.TARGETS}
#: A clean error is one line of at most so many letters.
LONGEST_REFUSAL = 1000
#: Processor seconds one input may take, and memory it may grow by, in bytes.
SECONDS = 5.0
GROWTH = 1 << 30
_MOST_MEMORY = 12 << 30  # address space, for the machine's sake: libraries alone reserve some


class TooSlow(BaseException):
    """An input takes longer than `SECONDS`. Not an `Exception`: a reader must not catch it."""


def make(target: Target, index: int) -> bytes:
    """Make input number `index` of a target, the same on every run."""
    return target.make(Random(f"{target.name} {index}"))


def main() -> None:
    """Feed targets. Arguments: folder, number of the first input of the first target, one past the
    last of each, targets.
    """
    folder, first, last, names = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]
    warnings.simplefilter("ignore")
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))
    signal.signal(signal.SIGVTALRM, _too_slow)
    for name in names:
        _feed_all(TARGETS[name], range(first, last), folder)
        first = 0


def _feed_all(target: Target, inputs: range, folder: Path) -> None:
    counts = {"read": 0, "refused": 0}
    slowest = growth = 0.0
    path = folder / "input"
    for index in inputs:
        path.write_bytes(make(target, index))
        (folder / "progress").write_text(json.dumps([target.name, index]))
        before = _peak()
        start = time.process_time()
        finding = _feed(target, path, counts)
        seconds, grown = time.process_time() - start, _peak(reset=False) - before
        slowest, growth = max(slowest, seconds), max(growth, grown)
        if not finding and grown > GROWTH:
            finding = f"memory grew by {grown / 1e6:.0f} MB"
        if finding:
            _say(folder, target=target.name, index=index, finding=finding)
    _say(folder, target=target.name, slowest=slowest, growth=growth, **counts)


def _feed(target: Target, path: Path, counts: dict[str, int]) -> str:
    """Read the file; return what is wrong with the outcome, "" for nothing."""
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    signal.setitimer(signal.ITIMER_PROF, 2 * SECONDS)  # ends the process, native code and all
    try:
        target.read(path)
        counts["read"] += 1
    except target.refusals as error:
        counts["refused"] += 1
        if "\n" in str(error) or not 0 < len(str(error)) <= LONGEST_REFUSAL:
            return f"its refusal is not one line: {str(error)[:300]!r}"
    except BaseException:
        return traceback.format_exc()[-3000:]
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.setitimer(signal.ITIMER_PROF, 0)
    return ""


def _peak(*, reset: bool = True) -> int:
    """Return the most memory in bytes that was held since the last reset, where Linux tells it."""
    try:
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        status = Path("/proc/self/status").read_text()
        return 1024 * int(status.split("VmHWM:")[1].split()[0])
    except (OSError, IndexError):
        return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _too_slow(number: int, frame: FrameType | None) -> NoReturn:
    raise TooSlow(f"over {SECONDS} s")


def _say(folder: Path, **line: Any) -> None:
    with (folder / "report").open("a") as file:
        file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
