"""The whole runtime on a model whose answers are known."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from time import sleep
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from deepmask import DeepMask
from deepmask.runtime.model.manifest import Scales
from deepmask.runtime.predict import network
from deepmask.runtime.predict.objects import choose_objects
from tests.runtime.fake_tensorrt import picture
from tests.runtime.plain_paste import paste
from tests.runtime.square_model import MASK_SIZE, write_square_model

Patch = pytest.MonkeyPatch
HEIGHT, WIDTH = 170, 230


noise = picture


def gray(height: int = HEIGHT, width: int = WIDTH) -> npt.NDArray[np.uint8]:
    return np.full((height, width, 3), 127, np.uint8)


@settings(max_examples=40, deadline=None)
@given(st.integers(14, 110), st.integers(0, HEIGHT - 14), st.integers(0, WIDTH - 14), st.booleans())
def test_painted_squares_come_back(model: DeepMask, side: int, y: int, x: int, white: bool) -> None:
    y, x = min(y, HEIGHT - side), min(x, WIDTH - side)
    image = gray()
    image[y : y + side, x : x + side] = 255 if white else 0
    proposals = model(image, proposals=20)
    painted = image[:, :, 0] != 127
    best = proposals.masks(0)
    assert (best & painted).sum() / (best | painted).sum() > 0.8
    # Averaging into samples moves an edge by less than 0.1 sample, the image's pixels by one.
    [box] = model.windows(image, proposals=1).boxes
    tolerance = 0.1 * max(box[2:]) / MASK_SIZE + 1
    left, top, width, height = proposals.boxes[0]
    found = np.array([top, left, top + height, left + width])
    assert np.abs(found - [y, x, y + side, x + side]).max() <= tolerance


def test_two_objects_are_the_best_two_that_are_apart(model: DeepMask) -> None:
    image = gray()
    image[16:48, 16:48] = 255
    image[80:144, 128:192] = 0
    proposals = model(image)
    first, second = choose_objects(proposals.encoded, proposals.scores, top=2)
    found = {tuple(proposals.boxes[index].tolist()) for index in (first, second)}
    assert found == {(16.0, 16.0, 32.0, 32.0), (128.0, 80.0, 64.0, 64.0)}
    boxes = model.windows(image).boxes  # twice the object's side
    assert_allclose(boxes[[first, second], 2:] * 0.5, [[32, 32], [64, 64]], rtol=0.05)


def test_scores_are_sorted_probabilities(model: DeepMask) -> None:
    image = noise(0, 90, 70)
    everything = model(image, proposals=100_000)
    assert everything.scores.dtype == np.float32
    assert (np.diff(everything.scores) <= 0).all()
    assert 0 <= everything.scores.min() <= everything.scores.max() <= 1
    best = model(image, proposals=7)
    assert len(best) == 7
    assert_array_equal(best.scores, everything.scores[:7])
    assert best.rles() == everything.rles()[:7]
    few, all_of_them = (model.windows(image, proposals=count) for count in (7, 100_000))
    assert_array_equal(few.logits, all_of_them.logits[:7])
    assert_array_equal(few.boxes, all_of_them.boxes[:7])
    assert set(best.seconds) == {"resize", "trunk", "score", "select", "mask", "encode"}
    assert model.stages == ("decode", "resize", "trunk", "score", "select", "mask", "encode")


def test_windows_are_those_of_the_proposals(model: DeepMask) -> None:
    image = noise(0, 90, 70)
    windows = model.windows(image, proposals=40)
    found = model(image, proposals=40, overlap=1.0)
    assert (windows.logits.shape, windows.boxes.shape) == ((40, 16, 16), (40, 4))
    assert windows.logits.dtype == np.float32
    assert windows.boxes.dtype == np.float64
    assert_allclose(found.scores, 1 / (1 + np.exp(-windows.selection.logit)), rtol=1e-6)
    for index in range(0, 40, 3):
        mask = paste(windows.logits[index], 0.0, windows.boxes[index], (90, 70))
        assert_array_equal(found.masks(index), mask)


def test_tensors_flow_by_name(model: DeepMask, tmp_path: Path) -> None:
    """A mask graph that reads `code` from the score graph gives what one on `features` gives."""
    image = noise(1, 80, 120)
    folder = write_square_model(tmp_path / "code", through_code=True)
    with DeepMask.load(folder, device="cpu", threads=1) as through_code:
        other = through_code.windows(image, proposals=300)
    plain = model.windows(image, proposals=300)
    assert_array_equal(other.selection.logit, plain.selection.logit)
    assert_array_equal(other.logits, plain.logits)


def test_refined_masks_are_exact(model: DeepMask, refined_folder: Path, monkeypatch: Patch) -> None:
    """Masks of another size than the plain model's, and skip maps, are learned from `model.json`.

    A disc at scale 1 comes back to the pixel, which no mask of a quarter of its resolution does.
    """
    rows, cols = np.mgrid[:HEIGHT, :WIDTH]
    disc = (rows - 63.5) ** 2 + (cols - 79.5) ** 2 < 17**2
    image = gray()
    image[disc] = 255
    options: dict[str, Any] = {"proposals": 30, "scales": Scales(0, 0, 1)}
    with DeepMask.load(refined_folder, device="cpu", threads=1) as refined:
        sharp, fine = refined(image, **options), refined.windows(image, **options)
        monkeypatch.setattr(refined.engine, "window_bytes", 1)
        one_by_one = refined.windows(image, **options)
    with DeepMask.load(refined_folder, device="cpu", threads=1, coarse=True) as coarse:
        blunt, bluntly = coarse(image, **options), coarse.windows(image, **options)
    assert (fine.logits.shape, bluntly.logits.shape) == ((30, 64, 64), (30, 16, 16))
    assert_array_equal(sharp.masks(0), disc)
    assert (blunt.masks(0) != disc).any()
    assert_array_equal(sharp.encoded[0].to_array().astype(bool), disc)
    assert_array_equal(sharp.scores, blunt.scores)
    assert_array_equal(one_by_one.logits, fine.logits)
    assert_array_equal(bluntly.logits, model.windows(image, **options).logits)


@pytest.mark.parametrize(("threads", "at_once"), [(2, 1), (1, 2)])
def test_networks_of_several_threads_take_turns(
    model_folder: Path, monkeypatch: Patch, threads: int, at_once: int
) -> None:
    """On a CPU, unless each network keeps to one of its cores."""
    run_view, inside, most = network.Network.run_view, [0], [0]

    def watched(*arguments: object, **more: object) -> object:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        sleep(0.05)  # long enough for the other thread to come in
        found = run_view(*arguments, **more)  # type: ignore[arg-type]
        inside[0] -= 1
        return found

    monkeypatch.setattr(network.Network, "run_view", watched)
    shared = DeepMask.load(model_folder, device="cpu", threads=threads)
    with shared, ThreadPoolExecutor(2) as pool:
        list(pool.map(shared, [gray()] * 4))
    assert most == [at_once]


def test_max_side_bounds_the_search_and_keeps_the_resolution(model: DeepMask) -> None:
    """A large square is found on the shrunk image, its mask has the image's pixels."""
    image = gray(700, 900)
    image[200:500, 300:600] = 255
    proposals = model(image, proposals=5, max_side=225)
    assert proposals.image_size == (700, 900)
    assert proposals.masks(0).shape == (700, 900)
    assert np.abs(proposals.boxes[0] - [300, 200, 300, 300]).max() <= 20
    fewer = model(image, proposals=10**6, max_side=225)
    assert len(fewer) < len(model(image, proposals=10**6)) / 4


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (17, 15)])
@pytest.mark.parametrize("value", [0, 127, 255])
def test_small_and_constant_images(model: DeepMask, size: tuple[int, int], value: int) -> None:
    proposals = model(np.full((*size, 3), value, np.uint8))
    assert len(proposals) > 0
    assert proposals.masks(0).shape == size
    assert all(result["segmentation"]["size"] == list(size) for result in proposals.to_coco(1))


def test_transposed_image_is_read_as_it_looks(model: DeepMask) -> None:
    image = noise(4, 70, 50)
    view = np.asfortranarray(image)[::-1]
    assert model(view, proposals=9).to_coco(1) == model(view.copy(), proposals=9).to_coco(1)


@pytest.mark.parametrize(
    ("image", "options", "text"),
    [
        (np.zeros((4, 4), np.uint8), {}, r"image is uint8 \(4, 4\), expected uint8 \(H, W, 3\)"),
        (np.zeros((4, 4, 3), np.float32), {}, "image is float32"),
        (np.zeros((0, 4, 3), np.uint8), {}, "no pixels"),
        (gray(4, 4), {"proposals": 0}, "proposals 0"),
        (gray(4, 4), {"threshold": 1.0}, "threshold is 1.0"),
        (gray(4, 4), {"max_side": 0}, "max_side 0"),
        *((gray(4, 4), {"overlap": x}, "expected an IoU") for x in (-0.1, 1.5, float("nan"))),
    ],
)
def test_wrong_arguments_are_named(
    model: DeepMask, image: npt.NDArray[Any], options: dict[str, float], text: str
) -> None:
    with pytest.raises(ValueError, match=text):
        model(image, **options)  # type: ignore[arg-type]


def test_demoted_duplicates_keep_their_masks(model: DeepMask, scene: Callable[..., Any]) -> None:
    image = scene(5, HEIGHT, WIDTH).image
    plain = model(image, proposals=1000, overlap=1.0)
    diverse = model(image, proposals=1000, overlap=0.5)
    assert sorted(map(str, plain.rles())) == sorted(map(str, diverse.rles()))
    assert [str(rle) for rle in plain.rles()] != [str(rle) for rle in diverse.rles()]
    assert (np.diff(diverse.scores) <= 0).all()
    for index in (0, 7, len(diverse) - 1):
        assert_array_equal(diverse.encoded[index].to_array().astype(bool), diverse.masks(index))
    few = model(image, proposals=6, overlap=0.5)
    assert few.rles() == diverse.rles()[:6]
    assert_array_equal(few.scores, diverse.scores[:6])
    assert_array_equal(few.boxes, diverse.boxes[:6])


def test_the_scale_prior_lifts_small_scales(model: DeepMask, scene: Callable[..., Any]) -> None:
    """The same windows; the logits of each are higher by the prior for every octave below 1."""
    image, scales = scene(5, HEIGHT, WIDTH).image, Scales(-2, -1, 1)
    lifted = DeepMask(replace(model.manifest, scale_prior=0.5), model.engine, model.choice)
    found = (one.windows(image, scales=scales).selection for one in (model, lifted))
    raw, moved = (
        dict(zip(zip(*map(np.ndarray.tolist, (f.view, f.row, f.col))), f.logit.tolist()))  # noqa: B905
        for f in found
    )
    assert raw.keys() == moved.keys()  # there are fewer locations than were asked for
    assert {view for view, _, _ in raw} == {0, 1}
    for key, logit in raw.items():
        assert moved[key] - logit == pytest.approx(0.5 * (2 - key[0]), abs=1e-5)
    with_prior, without = (one(image, scales=scales, overlap=1.0) for one in (lifted, model))
    assert with_prior.scores.max() > without.scores.max()


def test_shipped_model_gives_the_same_bits_in_runs_of_any_length() -> None:
    image = picture(2, 150, 200)
    found = []
    with DeepMask.load(engine="onnxruntime", device="cpu") as shipped:
        for shipped.engine.window_bytes in (96 << 20, 3 << 20, 5 << 19):
            found.append(shipped.windows(image, max_side=256))
    for other in found[1:]:
        assert_array_equal(other.selection.logit, found[0].selection.logit)
        assert_array_equal(other.logits, found[0].logits)


def test_shipped_model_finds_a_painted_disc() -> None:
    """The weights that came with the package, on a picture nobody had to photograph."""
    rows, cols = np.mgrid[:240, :320]
    disc = (rows - 120) ** 2 + (cols - 170) ** 2 < 60**2
    image = np.full((240, 320, 3), (90, 120, 70), np.uint8)
    image[disc] = (220, 60, 40)
    with DeepMask.load(device="cpu") as shipped:
        proposals = shipped(image, proposals=10)
    found = [proposals.masks(index) for index in range(3)]
    assert max((mask & disc).sum() / (mask | disc).sum() for mask in found) > 0.8
