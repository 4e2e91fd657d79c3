"""Where training runs: what is not there is refused by name, never replaced."""

from __future__ import annotations

import pytest
import torch

from deepmask.train.device import choose_hardware


def test_cpu_and_precision_are_taken_as_asked() -> None:
    assert choose_hardware("cpu", "fp32").device == torch.device("cpu")
    assert not choose_hardware("cpu", "fp32").bf16
    assert choose_hardware("cpu", "bf16").bf16


@pytest.mark.parametrize("device", ["foo", "meta", "mps", "cuda:x", "cuda:-1", ""])
def test_other_devices_are_refused(device: str) -> None:
    with pytest.raises(ValueError, match=f"device is '{device}', it must be auto, cpu, cuda"):
        choose_hardware(device, "auto")


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="finds no CUDA GPU here"):
        choose_hardware("cuda", "auto")
    assert choose_hardware("auto", "fp32").device.type == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ValueError, match="there are 2 GPUs, counted from 0"):
        choose_hardware("cuda:2", "auto")


def test_a_pytorch_that_does_not_tell_gets_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert not choose_hardware("cpu", "auto").bf16
