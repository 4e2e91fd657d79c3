"""Files, folders, patterns and standard input as images, and the names that keep them apart."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from deepmask.runtime.cli.inputs import InputError, expand, names_of, with_stdin
from deepmask.runtime.cli.plan import overlay_paths


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pictures in folders of folders; the working folder is their root."""
    for name in (
        *("a.jpg", "b/a.jpg", "b/c/a.PNG", "b/c/note.txt"),
        *(".hidden/x.jpg", "b/._a.jpg", "drawn/a.png", "drawn/b/a.png"),
    ):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.chdir(tmp_path)
    return Path("photos")


def found(*inputs: str, **options: object) -> list[str]:
    recursive, leave_out = bool(options.get("recursive")), options.get("leave_out")
    left = [Path(str(leave_out))] if leave_out else []
    return [path.as_posix() for path in expand([Path(one) for one in inputs], recursive, left)]


def test_a_folder_and_the_folders_in_it(tree: Path) -> None:
    assert found("photos") == ["photos/a.jpg"]
    everything = ["photos/a.jpg", "photos/b/a.jpg", "photos/b/c/a.PNG"]
    drawn = ["photos/drawn/a.png", "photos/drawn/b/a.png"]
    assert found("photos", recursive=True) == [*everything, *drawn]
    assert found("photos", recursive=True, leave_out="photos/drawn") == everything
    assert found("photos", recursive=True, leave_out="photos/b/../drawn") == everything
    assert found("photos/drawn", leave_out="photos/drawn") == ["photos/drawn/a.png"]


def test_a_file_is_taken_once_whatever_names_it(tree: Path) -> None:
    (tree / "link.jpg").symlink_to("a.jpg")
    everything = ["photos/b/a.jpg", "photos/a.jpg", "photos/link.jpg"]
    here = str(tree.resolve())
    twice = ("photos/b/", "photos", "photos/", "photos/b/../a.jpg", here, "photos/*.jpg")
    assert found(*twice) == everything


def test_patterns(tree: Path) -> None:
    assert found("photos/*.jpg") == ["photos/a.jpg"]
    assert found("photos/**/*.[jp][pn]g", "photos/b/c/note.txt") == [
        *("photos/a.jpg", "photos/b/a.jpg", "photos/drawn/a.png", "photos/drawn/b/a.png"),
        "photos/b/c/note.txt",
    ]
    assert found(str(tree.resolve() / "b" / "*")) == [str(tree.resolve() / "b" / "a.jpg")]
    odd = tree / "[1] *.jpg"
    odd.touch()
    assert found(str(odd)) == ["photos/[1] *.jpg"]  # a file of that name is itself


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("photos/b/c/*.txt", r"photos/b/c/\*\.txt: no image matches this pattern"),
        ("nowhere/*.jpg", "no image matches this pattern"),
        ("https://example.org/a.jpg", r"^https://example\.org/a\.jpg: is a URL; download it fir"),
        ("S3://bucket/a.jpg", "^S3://bucket/a.jpg: is a URL"),
        ("photos/gone.jpg", "photos/gone.jpg: no such file"),
        ("-1", "-1: no such file"),
        ("empty", "no images in this folder .*--recursive also searches the folders in it"),
    ],
)
def test_what_names_no_image(tree: Path, given: str, told: str) -> None:
    Path("empty").mkdir()
    with pytest.raises(InputError, match=told):
        found(given)


def test_equal_names_in_two_folders_stay_apart(tree: Path) -> None:
    def named(*inputs: str, recursive: bool = False) -> list[str]:
        given = [Path(one) for one in inputs]
        return names_of(expand(given, recursive), given)

    assert named("photos/a.jpg") == ["a.jpg"]
    assert named("photos") == ["a.jpg"]
    assert named("photos/b", recursive=True) == ["a.jpg", "c/a.PNG"]
    assert named("photos/b/c") == ["a.PNG"]
    assert named("photos/b", "photos/drawn") == ["b/a.jpg", "drawn/a.png"]
    assert named("photos/a.jpg", "photos/b/a.jpg") == ["a.jpg", "b/a.jpg"]
    assert named("photos/b/../a.jpg", str(tree.resolve() / "b")) == ["a.jpg", "b/a.jpg"]


def test_overlays_take_the_folders_over_and_no_two_are_one_file() -> None:
    names = ["a.jpg", "b/a.jpg", "a.png", "A.jpg", "a-2.jpg", "b/a.b.jpg"]
    assert [str(path) for path in overlay_paths(names, Path("out"))] == [
        *("out/a.png", "out/b/a.png", "out/a-2.png", "out/A-3.png", "out/a-2-2.png"),
        "out/b/a.b.png",
    ]
    [outside] = overlay_paths(["/absolute/a.jpg"], Path("out"))
    assert outside == Path("out/absolute/a.png")


class _Piped(io.TextIOWrapper):
    """Standard input that holds bytes."""


def test_standard_input_is_an_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", _Piped(io.BytesIO(b"\x89PNG")))
    with with_stdin([Path("-")]) as inputs:
        [path] = expand(inputs)
        assert path.read_bytes() == b"\x89PNG"
        assert names_of([path], inputs) == ["stdin"]
    assert not path.exists()
    with with_stdin([Path("a.jpg")]) as inputs:
        assert inputs == [Path("a.jpg")]
    with (
        pytest.raises(InputError, match="standard input is one image, give it alone"),
        with_stdin([Path("-"), Path("a.jpg")]),
    ):
        pass
