"""ImageNet weights for a trunk: torchvision's state dicts of classification networks."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from deepmask.networks.trunks import Trunk
from deepmask.runtime.errors import OneLineError


class InitialiseError(OneLineError):
    """Weights that cannot be started from; the text says why and what to do."""


def initialise_trunk(trunk: Trunk, state: Mapping[str, Tensor]) -> None:
    """Copy `state` into `trunk`; every trunk parameter must be there, in its shape.

    Left over may only be a classification network's further layers. Raises `InitialiseError`.
    """
    own = trunk.state_dict()
    missing = [
        name for name in own if name not in state and not name.endswith("num_batches_tracked")
    ]
    misshapen = [
        f"{name} is {tuple(state[name].shape)}, not {tuple(value.shape)}"
        for name, value in own.items()
        if name in state and state[name].shape != value.shape
    ]
    foreign = [name for name in state if name not in own and not name.startswith(trunk.beyond)]
    for problem, names in (
        ("lacks", missing),
        ("has another shape:", misshapen),
        ("has unknown entries", foreign),
    ):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise InitialiseError(
                f"the file does not fit this trunk: it {problem} {', '.join(names[:3])}{more}"
            )
    trunk.load_state_dict({name: state.get(name, value) for name, value in own.items()})
