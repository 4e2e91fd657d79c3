"""Options of `deepmask-train` that depend on others: on the preset, on the run to resume."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from deepmask.networks.presets import PRESETS, STUDIED, USED
from deepmask.networks.recipe import Recipe
from deepmask.runtime.cli.main import Command
from deepmask.train.errors import TrainUsageError
from deepmask.train.run_file import read_settings

DEFAULT_PRESET = "fpn-lite"
_RECIPE_OPTIONS = "deepmask.train.recipe_options"


def known_preset(ctx: click.Context, param: click.Parameter, name: str) -> str:
    """Return the name of a preset; raises `click.BadParameter` for another."""
    if name in PRESETS:
        return name
    used, studied = (", ".join(map(repr, some)) for some in (USED, STUDIED))
    raise click.BadParameter(
        f"{name!r} is not one of {used}; nor a row of the thesis' tables: {studied}", ctx, param
    )


class TrainCommand(Command):
    """The command; beside its own options it has one for each setting of the preset's recipe."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.default_map = run_to_resume(args)
        preset = chosen_preset(args, ctx.default_map)
        ctx.meta[_RECIPE_OPTIONS] = recipe_options(PRESETS[preset].recipe)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            others = [one for each in PRESETS.values() for one in recipe_options(each.recipe)]
            if not any(error.option_name in (*one.opts, *one.secondary_opts) for one in others):
                raise
            raise click.UsageError(
                f"{error.option_name} has no effect on {preset}: leave it out", ctx
            ) from error

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        *own, help_option = super().get_params(ctx)
        return [*own, *ctx.meta.get(_RECIPE_OPTIONS, []), help_option]


def chosen_preset(args: Sequence[str], defaults: Mapping[str, Any] | None = None) -> str:
    """Return the preset that the arguments name, or `defaults`; else the usual one.

    That is also returned for one that is unknown.
    """
    chosen = given_value(args, "--preset") or (defaults or {}).get("preset")
    return chosen if isinstance(chosen, str) and chosen in PRESETS else DEFAULT_PRESET


def run_to_resume(args: Sequence[str]) -> dict[str, Any]:
    """Return the options of the run that the arguments resume, as it was started; else none."""
    folder = given_value(args, "--resume")
    if folder is None:
        return {}
    out = given_value(args, "--out")
    if folder and out and Path(out) != Path(folder):
        raise TrainUsageError(f"--resume {folder} and --out {out} are two folders: give one")
    if folder and not Path(folder).is_dir():
        raise TrainUsageError(
            f"--resume {folder}: no such folder: give that of a run, or start one by --out"
        )
    folder = folder or out
    return read_settings(Path(folder)) if folder else {}


def given_value(args: Sequence[str], flag: str) -> str | None:
    """Return an option's last value among arguments: "" for none, None without the option."""
    value = None
    for number, argument in enumerate(args):
        if argument == flag:
            after = args[number + 1] if number + 1 < len(args) else ""
            value = "" if after.startswith("-") else after
        elif argument.startswith(f"{flag}="):
            value = argument.removeprefix(f"{flag}=")
    return value


def recipe_options(recipe: Recipe) -> list[click.Option]:
    """Return one option for each setting of a recipe; the default is the recipe's value."""
    options = []
    for item in fields(recipe):
        value, name = getattr(recipe, item.name), item.name.replace("_", "-")
        flags = f"--{name}/--no-{name}" if isinstance(value, bool) else f"--{name}"
        options.append(
            click.Option(
                [flags, item.name],
                default=value,
                type=type(value),
                show_default=True,
                help=str(item.metadata["help"]),
            )
        )
    return options
