"""Videos are read frame by frame, and written whole."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from deepmask.runtime.io.images import ImageError
from deepmask.runtime.io.results import ResultsError
from deepmask.runtime.io.video import Video, VideoWriter, is_video
from deepmask.runtime.io.written import RECORD, Written

Frame = npt.NDArray[np.uint8]


def frame(number: int, height: int = 96, width: int = 128) -> Frame:
    """Red at the left, blue at the right, and as bright as its number."""
    picture = np.full((height, width, 3), 20 * number, np.uint8)
    picture[:, : width // 3] = (200, 0, 0)
    picture[:, -(width // 3) :] = (0, 0, 200)
    return picture


def write(path: Path, frames: int, rate: float = 10) -> Path:
    with VideoWriter(path, rate) as video:
        for number in range(frames):
            video.add(frame(number))
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".avi", ".MP4"])
def test_what_is_written_reads_back(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / "new" / f"a{suffix}", 6)
    assert {one.name for one in path.parent.iterdir()} == {path.name, RECORD}
    assert Written().has(path)
    with closing(Video(path)) as video:
        assert (video.total, video.rate, video.name) == (6, 10, path.name)
        frames = list(video.frames())
    assert len(frames) == 6
    for number, read in enumerate(frames):
        assert read.dtype == np.uint8
        assert np.abs(read.astype(int) - frame(number)).mean() < 8


def test_frames_before_an_interrupt_are_kept(tmp_path: Path) -> None:
    def interrupted() -> None:
        with VideoWriter(tmp_path / "a.mp4", 10) as video:
            video.add(frame(1))
            video.add(frame(2))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with closing(Video(tmp_path / "a.mp4")) as video:
        assert len(list(video.frames())) == 2


def test_without_frames_there_is_no_file(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4", 0)
    assert list(tmp_path.iterdir()) == []


def test_what_is_a_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("2").mkdir()
    names = ["a.mp4", "b/A.MOV", "0", "2", "a.jpg", "a.mp4.jpg", "mp4"]
    assert [is_video(Path(name)) for name in names] == [True, True, True, *[False] * 4]


def test_what_cannot_be_read(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"no video" * 100)
    (tmp_path / "list.m4v").write_text(f"#EXTM3U\n#EXTINF:1,\n{write(tmp_path / 'a.mp4', 2)}\n")
    (tmp_path / "folder.mp4").mkdir()
    for name, problem in (
        ("bad.mp4", "not a video that can be read"),
        ("list.m4v", "not a video that can be read"),
        ("folder.mp4", "not a file"),
        ("gone.mp4", "no such file"),
    ):
        with pytest.raises(ImageError, match=f"{name}: {problem}"):
            Video(tmp_path / name)
    with pytest.raises(ImageError, match="camera 77: there is no such camera"):
        Video(Path("77"))
    with pytest.raises(ImageError, match=r"128 x 96 is over the limit of 0.001 megapixels"):
        Video(tmp_path / "a.mp4", 1000)
    assert capfd.readouterr().err == ""


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ResultsError, match=r"a.mp4: cannot be written"):
        write(tmp_path / "file" / "a.mp4", 1)
    (tmp_path / "a.mp4").mkdir()
    with pytest.raises(ResultsError, match=r"a.mp4: cannot be written"):
        write(tmp_path / "a.mp4", 1)
    assert {path.name for path in tmp_path.iterdir()} == {"a.mp4", "file", RECORD}
