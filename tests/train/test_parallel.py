"""Several processes train as one would: batches, losses, updates, stopping."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from deepmask.coco.reader import read_coco
from deepmask.networks.anchors.recipe import AnchorRecipe
from deepmask.networks.config import NetworkConfig
from deepmask.networks.patches.batches import ScoredPatchBatches
from deepmask.networks.patches.config import DeepMaskConfig
from deepmask.networks.patches.crops import Cropper
from deepmask.networks.patches.losses import mask_loss, score_loss
from deepmask.networks.patches.recipe import DeepMaskRecipe
from deepmask.networks.patches.sampling import Sampler
from deepmask.networks.recipe import Recipe
from deepmask.networks.whole.recipe import FpnLiteRecipe, FpnMasksRecipe
from deepmask.train.checkpoint import load_checkpoint
from deepmask.train.parallel import ALONE, Team, local_device
from tests.networks.tiny_anchors import LIGHT_RETINANET
from tests.networks.tiny_fpn import TINY
from tests.networks.tiny_masks import TINY_MASKS
from tests.train.small import SMALL, data, deepmask_train

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
TEAM_RUN = Path(__file__).with_name("team_run.py")


@pytest.fixture
def maker(
    drawn: tuple[Path, Path], tiny_model: DeepMaskConfig
) -> Callable[..., ScoredPatchBatches]:
    def make(recipe: DeepMaskRecipe, team: Team = ALONE) -> ScoredPatchBatches:
        found = read_coco(*drawn)
        sampler = Sampler(found, [found], tiny_model, recipe, recipe.score_partly)
        return ScoredPatchBatches(
            sampler, Cropper(10**8), tiny_model, recipe, 0, team.rank, team.size
        )

    return make


@pytest.mark.parametrize("alternate", [False, True])
def test_shares_make_up_the_whole_batch(
    maker: Callable[..., ScoredPatchBatches], tiny_recipe: DeepMaskRecipe, alternate: bool
) -> None:
    recipe = replace(tiny_recipe, alternate=alternate)
    size = 3
    for step in range(2):
        whole = maker(recipe)(step)
        shares = [maker(recipe, Team(rank, size))(step) for rank in range(size)]
        assert [share.counts for share in shares] == [whole.counts] * size
        assert sum(len(share.masks) for share in shares) == len(whole.masks) == whole.counts.masks
        for rank, share in enumerate(shares):
            assert torch.equal(share.patches, whole.patches[rank::size])
            assert torch.equal(share.masks, whole.masks[rank::size])
            assert torch.equal(share.colours, whole.colours[rank::size])
            assert torch.equal(share.labels.nan_to_num(7), whole.labels[rank::size].nan_to_num(7))
        labels = whole.labels
        assert whole.counts.objects == int((labels == 1).sum())
        assert whole.counts.others == int((labels == 0).sum())


def test_losses_of_shares_add_up() -> None:
    torch.manual_seed(0)
    logits, masks = torch.randn(5, 7, 7), torch.randint(0, 2, (5, 14, 14))
    scores = torch.randn(9)
    labels = torch.tensor([1, 1, math.nan, 0, 0, 1, 0, 0, math.nan])
    parts = (slice(0, 2), slice(2, 2), slice(2, 5))
    added = sum(mask_loss(logits[p], masks[p], 5) for p in parts if len(masks[p]))
    torch.testing.assert_close(added, mask_loss(logits, masks))
    shares = (slice(0, 2), slice(2, 3), slice(3, 5), slice(5, 9))  # one class or none in some
    added = sum(score_loss(scores[p], labels[p], (3, 4)) for p in shares)
    torch.testing.assert_close(added, score_loss(scores, labels))


def test_more_processes_than_patches_are_refused(
    maker: Callable[..., ScoredPatchBatches], tiny_recipe: DeepMaskRecipe
) -> None:
    with pytest.raises(ValueError, match="batch is 8, it must be at least the number of processes"):
        maker(tiny_recipe, Team(0, 9))


def test_each_process_takes_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert local_device("auto") == "auto"
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert [local_device(name) for name in ("auto", "cuda", "cpu")] == ["cuda:3", "cuda:3", "cpu"]


@pytest.mark.slow
def test_two_processes_train_as_one(
    drawn: tuple[Path, Path],
    tiny_model: DeepMaskConfig,
    tiny_recipe: DeepMaskRecipe,
    tmp_path: Path,
) -> None:
    """SGD, as AdamW would turn the rounding of a gradient near zero into a step of full length.

    No clipping, which would hide a gradient of the wrong length.
    """
    plain = replace(tiny_recipe, optimiser="sgd", lr=0.05, batch=9, steps=4, clip=0.0)
    whole: dict[str, Any] = {"whole_share": 0.0, "batch": 5, "steps": 3}
    runs: list[tuple[str, NetworkConfig, Recipe]] = [
        ("deepmask", tiny_model, plain),
        ("deepmask", tiny_model, replace(plain, alternate=True)),
        ("fpn-lite", TINY, FpnLiteRecipe(**whole)),
        ("fpn-masks", TINY_MASKS, FpnMasksRecipe(**whole)),
        ("retinanet", LIGHT_RETINANET, AnchorRecipe(batch=5, steps=3, crop=128)),
    ]
    spec = {
        "annotations": str(drawn[0]),
        "images": str(drawn[1]),
        "runs": [
            {"family": family, "model": config.to_dict(), "recipe": recipe.to_dict()}
            for family, config, recipe in runs
        ],
    }
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    found: list[dict[str, Any]] = []
    for command in ([sys.executable], TORCHRUN):
        out = tmp_path / f"{len(found)}.pt"
        launched = [*command, TEAM_RUN, tmp_path / "spec.json", out]
        result = subprocess.run(
            list(map(str, launched)), capture_output=True, text=True, timeout=300, check=False
        )
        assert result.returncode == 0, result.stderr
        found.append(torch.load(out, weights_only=True))
    assert [one["size"] for one in found] == [1, 2]
    for one, two in zip(*(each["results"] for each in found), strict=True):
        torch.testing.assert_close(
            torch.tensor(two["losses"]), torch.tensor(one["losses"]), equal_nan=True
        )
        for name, value in one["weights"].items():
            torch.testing.assert_close(two["weights"][name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes by /proc")
def test_a_signal_to_one_process_stops_all_and_the_run_goes_on(
    drawn: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    command = ["-m", "deepmask.train.cli", *data(drawn), *SMALL, "--init", "random"]
    command += ["--out", out, "--log-every", "1", "--precision", "fp32"]
    long = [*TORCHRUN, *command, "--steps", "100000"]
    with subprocess.Popen(
        list(map(str, long)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as job:
        assert job.stdout is not None
        lines = []
        for line in job.stdout:
            lines.append(line)
            if line.startswith("step 2/"):
                break
        second = max(children(job.pid))  # started after the first, which is the one that logs
        os.kill(second, signal.SIGTERM)
        rest, errors = job.communicate(timeout=120)
    assert "2 processes" in lines[0]
    assert rest.count("SIGTERM: saved") == 1, errors
    stopped = load_checkpoint(out / "last.pt").training["step"]
    steps = [line for line in [*lines, *rest.splitlines()] if line.startswith("step ")]
    assert len(steps) == stopped  # only one process logs
    assert sorted(path.name for path in out.iterdir()) == ["last.pt", "log.csv", "run.json"]

    result = deepmask_train(*command[2:], "--steps", stopped + 1, "--resume")
    assert result.returncode == 0, result.stderr
    assert load_checkpoint(out / "last.pt").training["step"] == stopped + 1


def children(pid: int) -> list[int]:
    """The processes that a process started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = stat.read_text().rpartition(")")[2].split()[1]
        except OSError:  # ended meanwhile
            continue
        if int(parent) == pid:
            found.append(int(stat.parent.name))
    return found
