"""Settings are chosen by what they find, one after another; what is given stays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from deepmask.evaluate import calibration
from deepmask.export import settings
from deepmask.export.errors import ExportUsageError
from deepmask.export.options import ExportOptions, check_validation
from deepmask.export.settings import MEASURES, TRIED, read_validation, with_measured_settings
from deepmask.runtime.model.folder import load_manifest
from deepmask.runtime.model.manifest import Manifest
from deepmask.runtime.predict.deepmask import DeepMask
from deepmask.train.recall import RecallImage
from tests.runtime.square_model import write_square_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_square_model(tmp_path_factory.mktemp("models") / "squares")


def best_at(**wanted: float) -> object:
    """Stand for a recall that falls with the distance of each setting from the one wanted."""

    def recall(model: DeepMask, images: Sequence[RecallImage]) -> Mapping[str, float]:
        far = sum(abs(getattr(model.manifest, name) - value) for name, value in wanted.items())
        return dict.fromkeys(MEASURES, 0.5 - far / 10)

    return recall


def chosen(
    folder: Path, drawn: tuple[Path, Path], options: ExportOptions
) -> tuple[Manifest, list[str], list[tuple[str, int, int]]]:
    told: list[str] = []
    progress: list[tuple[str, int, int]] = []
    manifest = with_measured_settings(
        load_manifest(folder),
        folder,
        read_validation(*drawn),
        options,
        told.append,
        lambda *step: progress.append(step),
    )
    return manifest, told, progress


def test_each_setting_is_the_one_that_finds_most(
    folder: Path, drawn: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "recall_of", best_at(scale_prior=0.7, overlap=0.8, threshold=0.1))
    manifest, told, progress = chosen(folder, drawn, ExportOptions())
    assert (manifest.scale_prior, manifest.overlap, manifest.threshold) == (0.75, 0.8, 0.2)
    assert told[-2].startswith("mean mask AR 0.485 on 6 pictures, 0.")
    assert told[-1].startswith("scores stand for the expected IoU: 0.")
    assert manifest.calibration is not None
    for score, iou, count in manifest.about["settings"]["reliability"]:
        assert count < 100 or score == pytest.approx(iou, abs=0.05)
    assert told[1].startswith("overlap      0.8, of 0.6 (")
    steps = [done for _, done, _ in progress]
    assert steps == list(range(1, progress[0][2] + 1))
    record = manifest.about["settings"]
    assert set(record["found"]) == set(TRIED)
    assert record["found"]["threshold"]["0.2"] == max(record["found"]["threshold"].values())
    assert (record["annotations"], record["pictures"]) == (drawn[0].name, 6)
    assert replace(manifest, about={}, threshold=0.3).views == load_manifest(folder).views


def test_what_is_given_or_no_worse_stays(
    folder: Path, drawn: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = load_manifest(folder)
    monkeypatch.setattr(settings, "recall_of", best_at())
    manifest, _, _ = chosen(folder, drawn, ExportOptions())
    for name in TRIED:
        assert getattr(manifest, name) == getattr(before, name)
    monkeypatch.setattr(settings, "recall_of", best_at(overlap=0.6, threshold=0.5))
    manifest, told, _ = chosen(folder, drawn, ExportOptions(threshold=0.3))
    assert (manifest.overlap, manifest.threshold) == (0.6, before.threshold)
    assert not [line for line in told if line.startswith("threshold")]


def test_real_recall_decides(folder: Path, drawn: tuple[Path, Path]) -> None:
    """Nothing is pretended: the figures are those that the chosen settings give again."""
    fixed = ExportOptions(overlap=1.0, threshold=0.3)
    manifest, _, _ = chosen(folder, drawn, fixed)
    found = manifest.about["settings"]["found"]["scale_prior"]
    assert found[f"{manifest.scale_prior:g}"] == max(found.values())


def test_annotations_and_pictures_belong_together() -> None:
    check_validation(ExportOptions())
    for one in ("validation", "validation_images"):
        with pytest.raises(ExportUsageError, match="belong together: give both"):
            check_validation(ExportOptions(**{one: Path("a")}))  # type: ignore[arg-type]


def test_too_few_proposals_to_calibrate_on_are_refused_in_one_line(
    folder: Path, drawn: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "recall_of", best_at(overlap=0.8))
    monkeypatch.setattr(calibration, "LEAST", 10**9)
    with pytest.raises(ExportUsageError, match=r"^--validation \S+: \d+ proposals are too few to "):
        chosen(folder, drawn, ExportOptions())
