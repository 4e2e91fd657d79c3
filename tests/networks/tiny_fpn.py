"""An `fpn-lite` that is small enough for tests."""

from __future__ import annotations

from deepmask.networks.whole.config import FpnLiteConfig

TINY = FpnLiteConfig("efficientnet-lite0", width=8, context=4, code=16, fine=6, last=4, second=8)
