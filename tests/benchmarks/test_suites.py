"""The suites collect, and without their flag they skip and say why."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.models import MODELS

ROOT = Path(__file__).resolve().parents[2]


def run_pytest(*arguments: str) -> str:
    """Run pytest outside of pytest-xdist, in whose workers pytest-benchmark times nothing."""
    alone = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_XDIST")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "benchmarks/", "-p", "no:cacheprovider", *arguments],
        cwd=ROOT,
        env=alone,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_without_the_flag_every_benchmark_is_skipped_with_a_reason() -> None:
    printed = run_pytest()
    assert "pytest benchmarks/ --benchmark runs them" in printed
    assert "skipped in" in printed
    assert "passed" not in printed


def test_each_preset_has_a_latency_on_each_engine_and_size() -> None:
    printed = run_pytest("--collect-only")
    for preset in MODELS:
        for size in ("coco", "pascal"):
            assert f"test_latency[{preset}-onnxruntime-cpu-{size}]" in printed


def test_model_folders_take_the_presets_place() -> None:
    printed = run_pytest("--collect-only", "--benchmark-model", "models/mine")
    assert "test_latency[mine-onnxruntime-cpu-coco]" in printed
    assert "test_latency[deepmask-vgg-a" not in printed


def test_compare_shows_ratios_to_an_earlier_file(tmp_path: Path) -> None:
    options = ("--benchmark", "-k", "test_import and onnxruntime")
    storage = f"--benchmark-storage=file://{tmp_path}"
    first = run_pytest(*options, storage, "--benchmark-save=first")
    assert "now/then" not in first
    printed = run_pytest(*options, storage, "--benchmark-compare=0001")
    table = printed[printed.index("against the run of") :].splitlines()
    assert table[2].strip().startswith("test_import[onnxruntime]")
    *_, then, now, ratio = table[2].split()
    assert float(ratio) == pytest.approx(float(now) / float(then), abs=0.02)
