"""Run a click command as every command of this project runs: help, errors, Ctrl-C, exit codes.

A command is declared with `@click.command(cls=Command)`, and its `main` calls `run_command`. Exit
codes are 0 for done, 1 for failed work, 2 for wrong use, 130 for Ctrl-C and 143 for SIGTERM. What a
user can cause is one line on standard error; a traceback is a fault of the program.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

import click

from deepmask import __version__
from deepmask.runtime.cli.messages import be_quiet, printed_messages
from deepmask.runtime.cli.streams import steady_streams
from deepmask.runtime.distribution import pip_install
from deepmask.runtime.errors import OneLineError, one_line, system_problem

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
#: The signals that came, in order.
_received: list[int] = []


def share_lock_fairly(device: str) -> None:
    """Let threads hand over Python's lock sooner while a GPU is fed: its calls often let go of it.

    80 such calls beside a busy thread took 496 ms at Python's own interval of 5 ms, 140 at 1 ms and
    35 at 0.1 ms; without that thread 6.5.
    """
    if device != "cpu":
        sys.setswitchinterval(1e-4)


class Interrupted(OneLineError):
    """A command was stopped by Ctrl-C or SIGTERM; the text says what it left behind."""


class Command(click.Command):
    """A command with the settings that all commands share, `--version` and `--quiet`."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        shared = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
        settings["context_settings"] = {**shared, **(settings.get("context_settings") or {})}
        super().__init__(*arguments, **settings)
        version = click.version_option(__version__, message="%(prog)s %(version)s")
        version(self)
        quiet = click.option(
            *("-q", "--quiet"),
            is_flag=True,
            expose_value=False,
            is_eager=True,
            callback=lambda context, parameter, given: be_quiet() if given else None,
            help="Print warnings and errors only.",
        )
        quiet(self)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the callback; a `KeyboardInterrupt` may say in its text what is left behind."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise Interrupted(": ".join(["interrupted", *map(str, error.args)])) from error


class Group(Command, click.Group):
    """A `Command` with subcommands."""

    command_class = Command


def run_command(
    command: click.Command, name: str, extra: str = "", arguments: Sequence[str] | None = None
) -> NoReturn:
    """Run a command and exit with its code; tell in one line what the user got wrong.

    The callback returns the exit code, or None for 0. `extra` names the optional libraries it
    needs, as in `pip_install(extra)`. `arguments` are `sys.argv`'s unless given. Work goes on when
    standard output is closed or full; the command then ends with a line about it, and code 1.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as a shell's background jobs have
        signal.signal(signal.SIGINT, _interrupt)
    with steady_streams() as output, printed_messages():
        code = _attempt(command, name, extra, arguments)
        output.flush()
        if output.failure is not None:
            reason = output.failure.strerror or one_line(output.failure)
            code = _tell(f"standard output is cut short ({reason})", code or 1)
    sys.exit(code)


@contextmanager
def one_interrupt() -> Iterator[None]:
    """Let the first Ctrl-C or SIGTERM interrupt the block, and ignore those that follow.

    For a block that ends by writing what was done: a second Ctrl-C must not cut that short. After
    an interrupt they stay ignored, for what the command still has to say.
    """
    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def interrupt_once(number: int, frame: FrameType | None) -> NoReturn:
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        _interrupt(number, frame)

    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, interrupt_once)
    known = len(_received)
    try:
        yield
    finally:
        if len(_received) == known:
            for number, handler in before.items():
                signal.signal(number, handler)


def _attempt(command: click.Command, name: str, extra: str, arguments: Sequence[str] | None) -> int:
    """Return the command's exit code, once what went wrong is told."""
    try:
        code = command.main(arguments, prog_name=name, standalone_mode=False)
    except click.UsageError as error:
        return _tell(f"{one_line(error.format_message())} ({name} --help explains)", 2)
    except click.ClickException as error:
        return _tell(one_line(error.format_message()), error.exit_code)
    except (Interrupted, click.Abort, KeyboardInterrupt) as error:
        return _tell(str(error) or "interrupted", 128 + (_received or [signal.SIGINT])[-1])
    except OneLineError as error:
        return _tell(str(error), error.exit_code)
    except MemoryError:
        return _tell("not enough memory: close other programs, or give less to do at a time", 1)
    except ImportError as error:
        return _tell(_import_problem(error, extra), 1)
    except OSError as error:
        return _tell(system_problem(error), 1)
    except SystemExit as error:
        code = error.code
    return code if isinstance(code, int) else 0


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    _received.append(number)
    raise KeyboardInterrupt


def _tell(problem: str, code: int) -> int:
    click.echo(f"Error: {problem}", err=True)
    return code


def _import_problem(error: ImportError, extra: str) -> str:
    library = (error.name or "").partition(".")[0]
    if library == "deepmask":
        raise error  # a fault of this program
    if not library or not isinstance(error, ModuleNotFoundError):
        return f"{one_line(error)} (deepmask-doctor shows what does not load)"
    return f"{library} is not installed: {pip_install(extra)}"
