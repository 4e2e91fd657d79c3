"""Memory that is used again."""

from __future__ import annotations

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepmask.runtime.engines.tensorrt.cuda import OutOfMemory
from deepmask.runtime.engines.tensorrt.pool import PATIENCE, Lease, Pool, rounded


class Block:
    def __init__(self, size: int) -> None:
        self.size = size


class Driver:
    def __init__(self, room: int = 1 << 60) -> None:
        self.room = room
        self.blocks: weakref.WeakSet[Block] = weakref.WeakSet()
        self.allocated = self.settled = 0
        self.pool: Pool[Block] = Pool(self.allocate, self.settle)

    @property
    def held(self) -> int:
        return sum(block.size for block in self.blocks)

    def allocate(self, size: int) -> Block:
        if self.held + size > self.room:
            raise OutOfMemory("memory", size, f", {self.room - self.held} are free")
        self.allocated += 1
        block = Block(size)
        self.blocks.add(block)
        return block

    def settle(self) -> None:
        self.settled += 1


@given(st.integers(1, 1 << 40))
def test_size_classes_waste_at_most_a_quarter(size: int) -> None:
    assert size <= rounded(size) <= size + max(511, size / 4)
    assert rounded(size) % 512 == 0  # as aligned as a GPU wants it
    assert rounded(rounded(size)) == rounded(size)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 100_000), st.integers(0, 5)), max_size=60))
def test_no_two_leases_share_memory(steps: list[tuple[int, int]]) -> None:
    driver, leases = Driver(), list[Lease[Block]]()
    for size, ended in steps:
        lease = driver.pool.take(size)
        assert lease.memory.size >= size
        leases.append(lease)
        del leases[:ended], lease
        assert len({id(one.memory) for one in leases}) == len(leases)


def test_a_size_that_comes_again_is_not_allocated_again() -> None:
    driver = Driver()
    for _ in range(10):
        leases = [driver.pool.take(size) for size in (1000, 1000, 5000, 90_000)]
        del leases
        driver.pool.next_round()
    assert driver.allocated == 4
    assert driver.settled == 0


def test_memory_without_use_is_given_back() -> None:
    driver = Driver()
    kept, used = driver.pool.take(10_000), driver.pool.take(20_000)
    del used
    driver.pool.take(40_000)
    for _ in range(PATIENCE + 1):
        driver.pool.take(20_000)
        driver.pool.next_round()
    assert driver.held == rounded(10_000) + rounded(20_000)
    assert kept.memory.size == rounded(10_000)


def test_idle_memory_is_given_back_before_anything_is_refused() -> None:
    driver = Driver(room=1 << 20)
    driver.pool.take(1 << 19)
    assert driver.pool.take(3 << 18).memory.size == 3 << 18
    assert driver.settled == 1
    kept = driver.pool.take(1 << 19)
    with pytest.raises(OutOfMemory, match=r"0\.8 MiB more are needed, 524288 are free"):
        driver.pool.take(3 << 18)
    del kept
    driver.pool.take(1 << 20)


def test_leases_may_end_in_other_threads() -> None:
    driver = Driver()
    leases = [driver.pool.take(1000) for _ in range(100)]
    with ThreadPoolExecutor(8) as threads:
        for _ in range(50):
            threads.submit(leases.pop)
    gc.collect()
    leases += [driver.pool.take(1000) for _ in range(50)]
    assert driver.allocated == 100
    assert len({id(lease.memory) for lease in leases}) == 100
