"""Time functions: warm up, run as many rounds as the budget allows, keep percentiles."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
from pytest_benchmark.fixture import BenchmarkFixture

Result = TypeVar("Result")

PERCENTILES = (50, 90, 99)
#: Seconds of rounds for one figure; what is slower gets the least number of rounds.
BUDGET = 12.0
LEAST_ROUNDS, MOST_ROUNDS = 5, 50

_ROOT = Path(__file__).resolve().parents[1]


def measure(
    benchmark: BenchmarkFixture, function: Callable[[], Result], budget: float = BUDGET
) -> list[Result]:
    """Time `function` in rounds, one after another; return what each round returned.

    Two rounds come before those that count: the first pays for what is done once, the second tells
    how many fit into `budget` seconds. Percentiles go to the benchmark's `extra_info`, in ms, with
    the machine's load average: on a busy machine times are not the program's.
    """
    function()
    start = time.perf_counter()
    function()
    rounds = rounds_in(budget, time.perf_counter() - start)
    results: list[Result] = []
    run_rounds = cast(Callable[..., None], benchmark.pedantic)
    run_rounds(lambda: results.append(function()), rounds=rounds)
    benchmark.extra_info["percentiles_ms"] = percentiles_ms(durations(benchmark))
    benchmark.extra_info["load_average"] = round(os.getloadavg()[0], 1)
    return results


def durations(benchmark: BenchmarkFixture) -> list[float]:
    """Return the seconds of each measured round."""
    if benchmark.stats is None:
        raise RuntimeError("nothing was timed: leave --benchmark-disable out")
    return list(benchmark.stats.stats.data)


def rounds_in(budget: float, seconds: float) -> int:
    """Return how many rounds of so many seconds a budget allows, within bounds."""
    return int(np.clip(budget / max(seconds, 1e-9), LEAST_ROUNDS, MOST_ROUNDS))


def percentiles_ms(seconds: Sequence[float]) -> dict[str, float]:
    """Return `PERCENTILES` of durations, in milliseconds."""
    values = np.percentile(np.asarray(seconds), PERCENTILES) * 1e3
    return {f"p{p}": round(float(v), 3) for p, v in zip(PERCENTILES, values, strict=True)}


def fitted_exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """Fit cost = c · size^k by least squares on logarithms; return k."""
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])


def run_child(arguments: Sequence[str]) -> dict[str, Any]:
    """Run `benchmarks.cold_start` in a process of its own; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.cold_start", *arguments],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"the measuring process failed: {done.stderr.strip()[-500:]}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
