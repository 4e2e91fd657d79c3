"""A preset as a table for the terminal: every value of its network and of its recipe."""

from __future__ import annotations

from dataclasses import fields

from deepmask.networks.presets import AnyPreset


def preset_table(preset: AnyPreset) -> str:
    """Return the values of a preset: the network's fields, then the recipe's options."""
    network = [(name, _text(value)) for name, value in preset.config.to_dict().items()]
    recipe = [
        (f"--{item.name.replace('_', '-')}", _text(getattr(preset.recipe, item.name)))
        for item in fields(preset.recipe)
    ]
    width = max(len(name) for name, _ in network + recipe)
    lines = [f"network: family {preset.family}"]
    lines += [f"  {name:<{width}}  {value}" for name, value in network]
    lines += ["recipe: options of deepmask-train"]
    lines += [f"  {name:<{width}}  {value}" for name, value in recipe]
    return "\n".join(lines)


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(_text, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value) or "(none)"
