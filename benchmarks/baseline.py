"""Run DeepMask as most people would write its inference, to compare the runtime's speed with.

Eager PyTorch; the patch network's linear layers as convolutions over the whole feature map (§3.3),
so a mask at every location of every scale; the best masks resized and pasted on full canvases, and
those encoded by pycocotools. Same weights, same views, same locations and scores as the runtime;
masks differ by the rounding of window corners to whole pixels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from pycocotools import mask as coco_mask
from torch import Tensor, nn

from deepmask.networks.deepmask import DeepMaskNetwork
from deepmask.networks.heads import LowRankMaskHead, PooledScoreHead, SharedScoreHead
from deepmask.runtime.model.manifest import Manifest
from deepmask.runtime.views.grids import location_counts
from deepmask.runtime.views.views import View, plan_views, render_view
from deepmask.train.checkpoint import load_checkpoint


class Baseline:
    """Run a checkpoint with PyTorch on the CPU; its `manifest` has border and scales."""

    def __init__(self, checkpoint: Path, manifest: Manifest) -> None:
        model = load_checkpoint(checkpoint).build()
        assert isinstance(model, DeepMaskNetwork)
        self.model = model
        self.manifest = manifest
        (self.grid,) = manifest.grids

    @torch.inference_mode()
    def __call__(self, image: npt.NDArray[np.uint8], proposals: int = 1000) -> list[dict[str, Any]]:
        """Return COCO results of an image, (H, W, 3) RGB, best first."""
        height, width = image.shape[:2]
        views = self.manifest.views
        masks: list[Tensor] = []
        scores: list[Tensor] = []
        places: list[tuple[View, int, int]] = []
        for view in plan_views(height, width, views.scales.factors(), views):
            picture = torch.from_numpy(render_view(image, view, views))
            mask, score = self._dense(self.model.features(picture))
            masks.append(mask[0].flatten(1).T)
            scores.append(score.flatten())
            rows, cols = location_counts(view, self.grid)
            places += [(view, row, col) for row in range(rows) for col in range(cols)]
        best = torch.cat(scores).topk(min(proposals, len(places)))
        size = self.manifest.mask_size
        chosen = torch.cat(masks)[best.indices].view(-1, size, size)
        results = []
        for logits, logit, index in zip(chosen.numpy(), best.values, best.indices, strict=True):
            view, row, col = places[index]
            canvas = self._paste(logits, view, row, col, height, width)
            rle = coco_mask.encode(np.asfortranarray(canvas))
            rle["counts"] = rle["counts"].decode("ascii")
            box = coco_mask.toBbox(rle).tolist()
            results.append(
                {
                    "image_id": 1,
                    "category_id": 1,
                    "segmentation": rle,
                    "bbox": box,
                    "score": float(torch.sigmoid(logit)),
                }
            )
        return results

    def _dense(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Map (1, C, h, w) to masks (1, mask_size², rows, cols) and scores (1, 1, rows, cols)."""
        mask_head, score_head = self.model.mask_head, self.model.score_head
        cells = self.model.config.cells
        crop = (self.manifest.views.border - int(self.grid.sides[0]) // 2) // self.grid.stride
        inner = features[:, :, crop : features.shape[2] - crop, crop : features.shape[3] - crop]
        code = torch.relu(mask_head.reduce(inner))
        if isinstance(mask_head, LowRankMaskHead):
            code = _slide(mask_head.encode, code, cells)
            masks = _slide(mask_head.classify, code, 1)
        else:
            masks = _slide(mask_head.classify, code, cells)
        if isinstance(score_head, SharedScoreHead):
            hidden = code
        else:  # fine-stride pooling: a stride-1 pool, then the layer with dilation 2
            pooled = F.max_pool2d(inner, 2, stride=1)
            assert isinstance(score_head, PooledScoreHead)
            hidden = torch.relu(_slide(score_head.encode, pooled, cells // 2, dilation=2))
        hidden = torch.relu(_slide(score_head.widen, hidden, 1))
        return masks, _slide(score_head.classify, hidden, 1)

    def _paste(
        self,
        logits: npt.NDArray[np.float32],
        view: View,
        row: int,
        col: int,
        height: int,
        width: int,
    ) -> npt.NDArray[np.uint8]:
        """Paint a window's mask on a canvas of the image's size."""
        patch, stride, cut = self.grid.sides[0], self.grid.stride, self.manifest.threshold
        top = round((stride * row - patch / 2) / view.ratio_y)
        left = round((stride * col - patch / 2) / view.ratio_x)
        size = (round(patch / view.ratio_x), round(patch / view.ratio_y))
        window = cv2.resize(logits, size) > np.log(cut / (1 - cut))
        canvas = np.zeros((height, width), np.uint8)
        y, x = max(top, 0), max(left, 0)
        inside = window[y - top : height - top, x - left : width - left]
        canvas[y : y + inside.shape[0], x : x + inside.shape[1]] = inside
        return canvas


def _slide(linear: nn.Linear, features: Tensor, cells: int, dilation: int = 1) -> Tensor:
    """Apply a linear layer to windows of cells × cells, at every location."""
    weight = linear.weight.view(linear.out_features, -1, cells, cells)
    return F.conv2d(features, weight, linear.bias, dilation=dilation)
