"""What a run finds in the folders that it reads and writes: its own files, and other people's."""

from __future__ import annotations

import shutil
from pathlib import Path

from deepmask.runtime.io.written import RECORD
from tests.runtime.cli.test_run import CPU, images_of, results_of, run


def test_folders_of_folders_and_what_they_hold_from_before(folder: Path) -> None:
    """Overlays of an earlier run are no pictures of the next one, which may replace them."""
    (folder / "pictures" / "sub").mkdir()
    shutil.copy(folder / "pictures" / "a.png", folder / "pictures" / "sub")
    options = (
        "--recursive",
        "--overlay",
        "pictures/drawn",
        "--proposals",
        5,
        "--out",
        "new/p.json",
    )
    for _ in range(2):
        done = run("pictures", *CPU, *options, cwd=folder)
        assert (done.returncode, done.stderr) == (0, "")
        names = [image["file_name"] for image in images_of(folder / "new" / "p.json")]
        assert names == ["000000000042.jpg", "a.png", "c.bmp", "sub/a.png"]
    drawn = folder / "pictures" / "drawn"
    assert {path.relative_to(drawn).as_posix() for path in drawn.rglob("*.png")} == {
        *("000000000042.png", "a.png", "c.png", "sub/a.png")
    }


def test_a_folder_that_holds_its_own_overlays(folder: Path) -> None:
    """They are results, not photographs, until somebody draws in them."""
    for name in ("a.png", "c.bmp"):
        (folder / "pictures" / name).unlink()
    for _ in range(2):
        options = ("--overlay", "pictures", "--format", "labelme", "--parts")
        done = run("pictures", "pictures/", "pictures/../pictures", *CPU, *options, cwd=folder)
        assert (done.returncode, done.stderr) == (0, "")
        assert {path.name for path in (folder / "pictures").iterdir()} == {
            *("000000000042.jpg", "000000000042.png", "000000000042.json", RECORD)
        }
    with (folder / "pictures" / "000000000042.png").open("ab") as file:
        file.write(b"drawn in")
    done = run("pictures", *CPU, "--overlay", "pictures", cwd=folder)
    assert "000000000042.png: is an input, which is never replaced" in done.stderr
    drawn = run("pictures/000000000042.jpg", *CPU, "--overlay", "drawn", cwd=folder)
    assert drawn.returncode == 0
    done = run("drawn", *CPU, cwd=folder)
    assert "drawn: holds no images but those that deepmask-trt wrote; a pattern, as" in done.stderr
    assert run("drawn/*", *CPU, cwd=folder).returncode == 0


def test_another_tools_results_and_a_persons_corrections_stay(folder: Path) -> None:
    """Though nothing in their content tells them from ours."""
    shutil.copytree(folder / "pictures", folder / "mine")
    for out, options in {
        "p.json": ("--out", "p.json"),
        "mine/a.json": ("--format", "labelme"),
        "labels/a.txt": ("--format", "yolo-seg"),
    }.items():
        command = ("mine/a.png", *CPU, *options, "--parts")
        assert run(*command, cwd=folder).returncode == 0
        assert run(*command, cwd=folder).returncode == 0  # over its own
        path = folder / out
        theirs = path.read_bytes().replace(b"1", b"2")
        path.write_bytes(theirs)
        done = run(*command, cwd=folder)
        assert (done.returncode, path.read_bytes()) == (2, theirs)
        assert f"{out}: exists and was not made by deepmask-trt, or was chan" in done.stderr
        assert run(*command, "--force", cwd=folder).returncode == 0
        assert run(*command, cwd=folder).returncode == 0


def test_a_strangers_file_is_replaced_by_force(folder: Path) -> None:
    mine = folder / "mine.json"
    mine.write_text('{"years": "of work"}')
    done = run("pictures/a.png", *CPU, "--out", "mine.json", cwd=folder)
    assert (done.returncode, mine.read_text()) == (2, '{"years": "of work"}')
    assert "--force to replace it" in done.stderr
    assert run("pictures/a.png", *CPU, "--out", "mine.json", "--force", cwd=folder).returncode == 0
    assert results_of(mine)
