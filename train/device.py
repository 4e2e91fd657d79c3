"""Choose where training runs, and in which precision."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Hardware:
    """A device; whether it computes in bf16 autocast or plain fp32, compiled or eager."""

    device: torch.device
    bf16: bool
    compiled: bool = False

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context in which to run a forward pass."""
        if self.bf16:
            return torch.autocast(self.device.type, torch.bfloat16)
        return nullcontext()

    def __str__(self) -> str:
        name = (
            torch.cuda.get_device_name(self.device)
            if self.device.type == "cuda"
            else f"cpu, {torch.get_num_threads()} threads"
        )
        return f"{name}, {'bf16' if self.bf16 else 'fp32'}{', compiled' * self.compiled}"


def choose_hardware(device: str, precision: str, compiled: bool = False) -> Hardware:
    """Settle `device` (auto, cpu, cuda or cuda:N) and `precision` (auto, bf16 or fp32).

    "auto" takes the GPU where there is one, and bf16 where the hardware computes in it. Raises
    ValueError for an explicit choice that is not available.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d{1,3})?", device):
        raise ValueError(f"device is {device!r}, it must be auto, cpu, cuda or cuda:N")
    chosen = torch.device(device)
    if chosen.type == "cuda":
        if not torch.cuda.is_available():
            raise ValueError(f"device {device} was asked for, but PyTorch finds no CUDA GPU here")
        if (chosen.index or 0) >= torch.cuda.device_count():
            raise ValueError(
                f"device {device} was asked for, but there are {torch.cuda.device_count()} GPUs, "
                "counted from 0"
            )
    native = _computes_bf16(chosen)
    if precision == "bf16" and not native and chosen.type == "cuda":
        raise ValueError("bf16 was asked for, but this GPU does not compute in it; use fp32")
    return Hardware(chosen, native if precision == "auto" else precision == "bf16", compiled)


def _computes_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if not hasattr(torch.cpu, "get_capabilities"):  # an older PyTorch does not tell
        return False
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
