"""The driver of these cases, and models on it; run by `python -m tests.stand_in`."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from deepmask import DeepMask
from deepmask.runtime.engines.choose import Choice
from deepmask.runtime.engines.tensorrt.cuda import open_device
from deepmask.runtime.engines.tensorrt.engine import TensorRTEngine
from deepmask.runtime.model.folder import load_manifest
from deepmask.runtime.model.manifest import Manifest
from tests.runtime.fake_tensorrt import fake_library, fake_plans
from tests.stand_in.driver import StandIn

Load = Callable[..., DeepMask]


@pytest.fixture(scope="session")
def the_driver() -> StandIn:
    return StandIn()


@pytest.fixture
def driver(the_driver: StandIn) -> Iterator[StandIn]:
    """The driver, which must have nothing to complain of, and hold no more memory at the end."""
    held, violations = the_driver.held[:2], the_driver.violations
    yield the_driver
    gc.collect()
    assert the_driver.errors == []
    assert the_driver.violations == violations, "see what the driver said on stderr"
    assert the_driver.held[:2] == held


@pytest.fixture
def load(driver: StandIn) -> Load:
    """Load a model folder on it; `form` changes its manifest, `plans_of` what is run."""

    def load(
        folder: Path,
        form: Callable[[Manifest], Manifest] = lambda manifest: manifest,
        max_side: int = 640,
        flavour: str = "tensorrt",
        plans_of: Callable[..., Mapping[str, bytes]] = fake_plans,
    ) -> DeepMask:
        manifest = form(load_manifest(folder))
        plans = plans_of(manifest, folder, max_side)
        engine = TensorRTEngine(manifest, plans, fake_library(driver, flavour), open_device())
        return DeepMask(manifest, engine, Choice(flavour, "cuda"), threads=1)

    return load
