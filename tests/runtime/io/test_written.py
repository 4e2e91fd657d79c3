"""Files are known again as long as nobody has changed them, whatever becomes of the record."""

from __future__ import annotations

import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from deepmask.runtime.io.written import RECORD, Written, write_known


def known(path: Path) -> bool:
    return Written().has(path)


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    path = tmp_path / "a folder" / "ä\n'.txt"
    path.parent.mkdir()
    write_known(path, b"ours")
    return path


def test_a_file_is_known_until_it_is_changed(ours: Path) -> None:
    assert known(ours)
    ours.write_bytes(b"ours, and more")
    assert not known(ours)
    ours.write_bytes(b"ours")
    assert known(ours)
    other = ours.with_name("b.txt")
    other.write_bytes(b"ours")  # under another name, as whoever wants to keep a file does
    assert not known(other)
    write_known(ours, b"newer")
    assert known(ours)
    ours.write_bytes(b"ours")  # what an earlier run wrote is ours, too: a run may be cut short
    assert known(ours)


def test_a_record_in_another_folder_makes_nothing_ours(ours: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / ours.name
    other.parent.mkdir()
    shutil.copy(ours.with_name(RECORD), other.parent)
    other.write_bytes(b"somebody's")
    assert not known(other)
    shutil.copy(ours, other)
    assert known(other)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: b"",
        lambda text: b"\0\xff" * 100,
        lambda text: text[: len(text) // 2],
        lambda text: text[: text.index(b"\n") // 2],
        lambda text: text[:-3],
        lambda text: text.splitlines()[0] + b'\n[1]\n{"a": ' + b"[" * 100_000 + b"\nnull\n[1, 2]",
        lambda text: b'["a user\'s own list"]\n',
    ],
)
def test_a_spoiled_record_makes_nothing_ours(ours: Path, spoil: object) -> None:
    """And new files are known again, unless the record is somebody's file of that name."""
    record = ours.with_name(RECORD)
    assert callable(spoil)
    spoiled = spoil(record.read_bytes())
    record.write_bytes(spoiled)
    assert not known(ours)
    write_known(ours, b"again")
    assert ours.read_bytes() == b"again"
    is_a_record = b"written by" in spoiled[:20] or b'["written by'.startswith(spoiled)
    assert known(ours) == is_a_record
    if not is_a_record:
        assert record.read_bytes() == spoiled


@pytest.mark.skipif(os.name == "nt", reason="links and pipes are others there")
def test_what_stands_in_the_records_place_is_left_alone(ours: Path, tmp_path: Path) -> None:
    record = ours.with_name(RECORD)
    letter = tmp_path / "letter"
    for empty in (True, False):
        letter.write_bytes(b"" if empty else b"dear")
        record.unlink()
        record.symlink_to(letter)  # as an archive from somebody may have it
        write_known(ours, b"1")
        assert letter.read_bytes() == (b"" if empty else b"dear")
    record.unlink()
    os.mkfifo(record)
    write_known(ours, b"2")
    assert not known(ours)
    record.unlink()
    record.mkdir()
    write_known(ours, b"3")
    assert not known(ours)


def test_runs_at_the_same_time_keep_each_others_lines(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.txt" for number in range(200)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda path: write_known(path, path.name.encode()), paths))
    assert all(map(known, paths))
    lines = (tmp_path / RECORD).read_text().splitlines()
    assert all(isinstance(json.loads(line), list) for line in lines if line)
