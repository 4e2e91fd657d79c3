"""What `run_command` makes of whatever ends a command."""

from __future__ import annotations

import errno
import io
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from deepmask.runtime.cli import progress
from deepmask.runtime.cli.main import Command, Interrupted, run_command
from deepmask.runtime.cli.messages import printed_messages, say, say_aside, warn
from deepmask.runtime.cli.progress import progress_bar
from deepmask.runtime.errors import OneLineError, UsageError

needs_posix = pytest.mark.skipif(os.name == "nt", reason="needs signals, or a shell")
Said = pytest.CaptureFixture[str]
#: A command that does what its standard input says.
PROGRAM = """
import os, signal, sys, time
import click
from deepmask.runtime.cli.main import Command, Interrupted, one_interrupt, run_command

@click.command(cls=Command)
def command():
    exec(sys.stdin.read())

run_command(command, "deepmask-test", "train")
"""


@pytest.fixture(autouse=True)
def _signals_as_before() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def outcome(capsys: Said, callback: Callable[[], object]) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command that calls `callback`."""
    with pytest.raises(SystemExit) as ended:
        run_command(Command("test", callback=callback), "deepmask-test", "train", ())
    said = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, said.out, said.err


def raising(error: BaseException) -> Callable[[], object]:
    def callback() -> None:
        raise error

    return callback


def missing(number: int, *names: str) -> OSError:
    second = [None, names[1]] if names[1:] else []
    return OSError(number, os.strerror(number), *names[:1], *second)


NO_TORCH = ModuleNotFoundError("No module named 'torch.x'", name="torch.x")
NO_GL = ImportError("libGL.so.1: cannot\nopen", name="cv2")
WHO_MAY = "check who may read and write there, or give another path"


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (OneLineError("the graph\nis broken"), 1, r"the graph\nis broken"),
        (UsageError("a.pt: no such file"), 2, "a.pt: no such file"),
        (click.UsageError("two\n  lines"), 2, "two lines (deepmask-test --help explains)"),
        (click.ClickException("failed"), 1, "failed"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (KeyboardInterrupt("nothing was written"), 130, "interrupted: nothing was written"),
        (Interrupted("interrupted after 3 images"), 130, "interrupted after 3 images"),
        (click.Abort(), 130, "interrupted"),
        (MemoryError(), 1, "not enough memory: close other programs, or give less to do at a time"),
        (NO_TORCH, 1, "torch is not installed: pip install 'deepmask-trt[train]'"),
        (NO_GL, 1, "libGL.so.1: cannot open (deepmask-doctor shows what does not load)"),
        (missing(errno.ENOENT, "a.png"), 1, "a.png: No such file or directory: check the path"),
        (missing(errno.EACCES, "a", "b"), 1, f"a: b: Permission denied: {WHO_MAY}"),
        (
            missing(errno.ENOSPC),
            1,
            "No space left on device: free some space, or give another path",
        ),
        (OSError("odd"), 1, "odd: check the path, its permissions and the space left"),
    ],
)
def test_each_problem_is_one_line(capsys: Said, error: BaseException, code: int, told: str) -> None:
    assert outcome(capsys, raising(error)) == (code, "", f"Error: {told}\n")


@pytest.mark.parametrize(("given", "code"), [(None, 0), (0, 0), (1, 1), ("text", 0)])
def test_a_command_returns_its_exit_code(capsys: Said, given: object, code: int) -> None:
    assert outcome(capsys, lambda: given) == (code, "", "")
    assert outcome(capsys, lambda: sys.exit(code)) == (code, "", "")


@pytest.mark.parametrize("error", [ZeroDivisionError(), ImportError("no x", name="deepmask.x")])
def test_a_fault_of_the_program_keeps_its_traceback(error: Exception) -> None:
    with pytest.raises(type(error)):
        run_command(Command("test", callback=raising(error)), "deepmask-test", arguments=())


def start(code: str) -> subprocess.Popen[str]:
    command, pipe = [sys.executable, "-c", PROGRAM], subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    assert process.stdin is not None
    process.stdin.write(code)
    process.stdin.close()
    process.stdin = None
    return process


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def in_shell(command: str, code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["sh", "-c", command], input=code, capture_output=True, text=True)


RUN = f"exec {sys.executable} -c '{PROGRAM}'"


@needs_posix
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_a_command_with_one_line(sent: signal.Signals) -> None:
    process = start("print('begun', flush=True); time.sleep(60)")
    assert line_of(process) == "begun\n"
    process.send_signal(sent)
    assert process.communicate(timeout=30) == ("", "Error: interrupted\n")
    assert process.returncode == 128 + sent


@needs_posix
def test_the_first_of_several_interrupts_counts() -> None:
    """What it left to be done is done; the exit code is that of the first signal."""
    code = """
with one_interrupt():
    try:
        print('begun', flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        print('ending', flush=True)
        time.sleep(1)
        print('ended', flush=True)
os.kill(os.getpid(), signal.SIGINT)
raise Interrupted('interrupted after 2 of 3')
"""
    process = start(code)
    assert line_of(process) == "begun\n"
    process.send_signal(signal.SIGTERM)
    assert line_of(process) == "ending\n"
    for number in (signal.SIGINT, signal.SIGTERM):
        process.send_signal(number)
    assert process.communicate(timeout=30) == ("ended\n", "Error: interrupted after 2 of 3\n")
    assert process.returncode == 143


@needs_posix
def test_interrupts_are_as_before_after_a_block_without_one() -> None:
    stop = "os.kill(os.getpid(), signal.SIGINT); time.sleep(60)"
    process = start(f"with one_interrupt(): pass\n{stop}")
    assert process.communicate(timeout=30) == ("", "Error: interrupted\n")
    assert process.returncode == 130


@needs_posix
def test_a_background_job_goes_on_when_ctrl_c_is_ignored() -> None:
    code = "os.kill(os.getpid(), signal.SIGINT); print('done')"
    done = in_shell(f"trap '' INT; {RUN}", code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_work_goes_on_when_standard_output_is_full(tmp_path: Path) -> None:
    """It is the files that count; what was not printed is told, and is a failure."""
    code = f"print('a' * 9000); open({str(tmp_path / 'made')!r}, 'w').close(); click.echo('b')"
    told = "Error: standard output is cut short (No space left on device)"
    for end, wanted in (("", 1), ("; raise Interrupted('stopped')", 130)):
        done = in_shell(f"{RUN} >/dev/full", code + end)
        assert done.returncode == wanted
        assert done.stderr.splitlines()[-1] == told
        (tmp_path / "made").unlink()


@needs_posix
@pytest.mark.parametrize("closed", ["1>&-", "2>&-", "2>/dev/full"])
def test_streams_may_be_missing(closed: str) -> None:
    done = in_shell(f"{RUN} {closed}", "print('x'); click.echo('y', err=True)")
    assert done.returncode == 0
    assert done.stdout + done.stderr in ("x\n", "y\n")


@needs_posix
def test_text_that_the_terminal_lacks_is_escaped() -> None:
    latin = "export PYTHONIOENCODING=latin-1 PYTHONUTF8=0"
    done = in_shell(f"{latin}; {RUN}", r"print('\u2265 \udcff')")
    assert (done.returncode, done.stdout) == (0, "\\u2265 \\udcff\n")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_has_a_bar_for_each_thing_that_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress_bar() as show:
        for counted in ("trunk", "mask"):
            for done in range(4):
                show(counted, done, 3)
        assert terminal.getvalue().endswith("\n")  # what is printed now has a line of its own
        show("one", 1, 1)
    text = terminal.getvalue()
    assert text.count("3/3") == 2
    assert text.index("trunk") < text.index("3/3") < text.index("mask")
    assert "/s" in text
    assert "one" not in text


def test_progress_is_a_line_every_ten_seconds_elsewhere(
    capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with printed_messages(), progress_bar() as show:
        for step in range(12):
            now = 100.0 + 2.5 * step
            show("images", step, 1000)
            show("one", 1, 1)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        "images: 4 of 1000 in 10.0 s, 0.40 per second, 42 min left",
        "images: 8 of 1000 in 20.0 s, 0.40 per second, 41 min left",
    ]
    now = 100.0
    rate = progress.Rate("frames")
    now = 104.0
    assert rate.line(6) == "6 frames in 4.0 s, 1.50 frames per second"


def test_what_is_counted_again_has_a_pace_of_its_own(
    capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with printed_messages(), progress_bar() as show:
        for done in (1, 2, 3, 1, 2, 3):
            show("pictures", done, 3)
            now += 6
    assert (
        capsys.readouterr().err.splitlines()
        == ["pictures: 3 of 3 in 12.0 s, 0.25 per second, 0 s left"] * 2
    )


def test_a_quiet_command_prints_warnings_and_errors_only(capsys: Said) -> None:
    @click.command(cls=Command)
    def command() -> None:
        with progress_bar() as show:
            show("images", 1, 3)
        say("a result")
        say_aside("a remark")
        warn("a warning")
        raise OneLineError("an error")

    for flags, out, errors in (
        ([], "a result\n", "a remark\na warning\nError: an error\n"),
        (["--quiet"], "", "a warning\nError: an error\n"),
        (["-q"], "", "a warning\nError: an error\n"),
        ([], "a result\n", "a remark\na warning\nError: an error\n"),
    ):
        with pytest.raises(SystemExit) as ended:
            run_command(command, "name", arguments=flags)
        assert ended.value.code == 1
        said = capsys.readouterr()
        assert (said.out, said.err) == (out, errors)


def test_what_commands_say_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever calls a room from Python has it where other logs go."""
    with caplog.at_level(logging.INFO, "deepmask"):
        say("a result")
        warn("a warning")
    assert [(one.name, one.levelname) for one in caplog.records] == [
        *(("deepmask", "INFO"), ("deepmask", "WARNING"))
    ]
