"""Validation on fixed patches: how good masks are on centred objects, and how good scores are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from deepmask.networks.deepmask import DeepMaskNetwork
from deepmask.networks.patches.batches import Batch
from deepmask.train.device import Hardware


@dataclass(frozen=True)
class PatchQuality:
    """mask_iou: mean IoU at probability 0.5, 0…1; score_accuracy: mean of both classes', 0…1."""

    mask_iou: float
    score_accuracy: float


@torch.no_grad()
def validate(model: DeepMaskNetwork, batches: Sequence[Batch], hardware: Hardware) -> PatchQuality:
    """Measure `model` on `batches`, in evaluation mode; leaves the model's mode as it was."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    ious, hits, labels = [], [], []
    for batch in batches:
        patches = batch.patches.to(hardware.device).float()
        with hardware.autocast():
            masks, scores = model(patches)
        truth = batch.masks.to(hardware.device)
        ious.append(_iou(masks[: len(truth)].float(), truth))
        wanted = batch.labels.to(hardware.device)
        hits.append((scores > 0) == (wanted > 0.5))
        labels.append(wanted)
    for module, mode in modes:
        module.training = mode
    hit, label = torch.cat(hits).float(), torch.cat(labels)
    accuracy = (hit[label == 1].mean() + hit[label == 0].mean()) / 2
    return PatchQuality(float(torch.cat(ious).mean()), float(accuracy))


def _iou(logits: Tensor, masks: Tensor) -> Tensor:
    """(M, S, S) logits, (M, L, L) truth → (M,) IoU at the truth's resolution."""
    upsampled = functional.interpolate(
        logits[:, None], size=masks.shape[-2:], mode="bilinear", align_corners=False
    )[:, 0]
    predicted, truth = upsampled > 0, masks > 0
    both = (predicted & truth).flatten(1).sum(1)
    either = (predicted | truth).flatten(1).sum(1)
    return both / either.clamp(min=1)
