"""Run workers over any number of inputs; one that dies is a finding, and the rest goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
#: A worker without a word for so long, in seconds, hangs where no signal reaches it.
SILENCE = 6 * 3600.0
#: Damage that is always read, or always refused, tells nothing once there is this much of it.
ENOUGH = 100
#: A log's torn rows are left out, none is an error.
TAKES_ANYTHING = ("training log",)
#: Copies of whole weights would be all the work: these inputs have only the small ones.
TAKES_NOTHING = ("checkpoints", "trunk weights")


@dataclass
class Report:
    """Counts of a target's inputs; `findings` by input number."""

    target: str
    read: int = 0
    refused: int = 0
    slowest: float = 0.0
    growth: float = 0.0
    findings: dict[int, str] = field(default_factory=dict)

    def take(self, line: dict[str, Any]) -> None:
        """Add a line of a worker's report."""
        if "finding" in line:
            self.findings[line["index"]] = line["finding"]
            return
        self.read += line["read"]
        self.refused += line["refused"]
        self.slowest = max(self.slowest, line["slowest"])
        self.growth = max(self.growth, line["growth"])

    def problems(self) -> list[str]:
        """Return the findings, and whether the damage was too mild or too rough to find any."""
        problems = [f"input {number}: {text}" for number, text in self.findings.items()]
        if self.read + self.refused >= ENOUGH:
            if not self.refused and self.target not in TAKES_ANYTHING:
                problems.append("no input was refused: the damage is too mild")
            if not self.read and self.target not in TAKES_NOTHING:
                problems.append("no input was read: the damage is too rough")
        return problems

    def __str__(self) -> str:
        """Return one line of figures, and a paragraph for each problem."""
        line = (
            f"{self.target:<26}{self.read:>8} read{self.refused:>8} refused"
            f"{len(self.findings):>6} findings   slowest {self.slowest:5.2f} s   "
            f"growth {self.growth / 1e6:6.0f} MB"
        )
        return "\n".join([line, *(f"  {text}" for text in self.problems())])


def fuzz(names: Sequence[str], inputs: int, first: int = 0) -> dict[str, Report]:
    """Feed each target the inputs `first` … `first + inputs - 1`; return reports by name."""
    reports = {name: Report(name) for name in names}
    end, rest = first + inputs, list(names)
    with tempfile.TemporaryDirectory(prefix="deepmask-fuzz-") as temporary:
        folder = Path(temporary)
        while rest:
            (folder / "progress").write_text(json.dumps([rest[0], first]))
            (folder / "report").write_text("")
            command = [sys.executable, "-m", "tests.fuzz.worker", str(folder), str(first), str(end)]
            done = subprocess.run(
                [*command, *rest],
                cwd=ROOT,
                env={**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": temporary},
                capture_output=True,
                text=True,
                errors="replace",
                timeout=SILENCE,
                check=False,
            )
            for line in map(json.loads, (folder / "report").read_text().splitlines()):
                reports[line["target"]].take(line)
            if done.returncode == 0:
                break
            name, reached = json.loads((folder / "progress").read_text())
            reports[name].findings[reached] = f"exit code {done.returncode}: {done.stderr[-3000:]}"
            rest, first = rest[rest.index(name) :], reached + 1
    return reports
