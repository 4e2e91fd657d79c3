"""Predicted times: what is counted, and how a card's rates become seconds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.flops import plan_gflop
from benchmarks.paper_latency import (
    CARDS,
    KERNEL,
    REACHED,
    STREAMED,
    Card,
    Work,
    predicted,
    stage_work,
    table,
)
from deepmask.runtime.model.folder import load_manifest
from deepmask.runtime.model.shipped import find_model
from deepmask.runtime.views.views import plan_views

CARD = Card("one", 10, 20, 40, 100, 10)


def test_a_kernel_takes_the_longest_of_three() -> None:
    arithmetic = Work(10**12, 1000)
    assert arithmetic.seconds(CARD, 10, 4) == pytest.approx(0.2 / REACHED)
    assert arithmetic.seconds(CARD, 40, 4) == pytest.approx(0.05 / REACHED)
    memory = Work(1, 10**9)
    assert memory.seconds(CARD, 10, 4) == pytest.approx(0.04 / STREAMED)
    assert memory.seconds(CARD, 10, 2) == pytest.approx(0.02 / STREAMED)
    assert Work(1, 1).seconds(CARD, 10, 4) == KERNEL


def test_the_shipped_model_is_counted_whole() -> None:
    """Its arithmetic is that of `flops`; a picture is painted once, and runs once through all."""
    folder = find_model(None)
    manifest = load_manifest(folder)
    runs = stage_work(folder, manifest, (480, 640), 1000)
    assert {name: len(of_stage) for name, of_stage in runs.items()} == {
        **{"resize": 1, "score": 1, "names": 1, "mask-a": 1, "mask-b": 1, "boxes": 1},
    }
    views = plan_views(480, 640, manifest.views.scales.factors(), manifest.views)
    expected = plan_gflop(folder, manifest, views, 1000)
    for name, gflop in expected.items():
        counted = 2e-9 * sum(work.multiply_adds for run in runs[name] for work in run)
        assert counted == pytest.approx(gflop, rel=0.02)
    resize = sum(work.multiply_adds for run in runs["resize"] for work in run)
    assert resize == 3 * 768 * 640 * (480 + 1024) + 768 * 1024  # rows, columns; what is inside
    fast, slow = (
        predicted(runs, card, "fp16", (480, 640), 5_000_000) for card in (CARDS[4], CARDS[0])
    )
    assert list(fast) == ["upload", *runs, "download"]
    assert all(fast[name] <= slow[name] for name in fast)
    half = predicted(runs, replace(CARD, pcie=CARD.pcie / 2), "fp32", (480, 640), 5_000_000)
    whole = predicted(runs, CARD, "fp32", (480, 640), 5_000_000)
    assert half["download"] - 20e-6 == pytest.approx(2 * (whole["download"] - 20e-6))


def test_rows_are_a_table() -> None:
    assert table([["a", "b"], ["1", "2"]]) == "| a | b |\n|---|---|\n| 1 | 2 |"
