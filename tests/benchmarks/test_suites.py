"""The suites collect, and without their flag they skip and say why."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def run_pytest(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "benchmarks/", "-p", "no:cacheprovider", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_without_the_flag_every_benchmark_is_skipped_with_a_reason():
    printed = run_pytest()
    assert "pytest benchmarks/ --benchmark runs them" in printed
    assert "skipped in" in printed
    assert "passed" not in printed


def test_each_preset_has_a_latency_on_each_engine_and_size():
    printed = run_pytest("--collect-only")
    for preset in ("deepmask-r18", "sharpmask-r18", "deepmask-vgg-a"):
        for size in ("coco", "pascal"):
            assert f"test_latency[{preset}-onnxruntime-cpu-{size}]" in printed


def test_model_folders_take_the_presets_place():
    printed = run_pytest("--collect-only", "--benchmark-model", "models/mine")
    assert "test_latency[mine-onnxruntime-cpu-coco]" in printed
    assert "test_latency[deepmask-vgg-a" not in printed
