"""Objects that answer as TensorRT's do, once each call fits the signature of the real bindings.

A signature is what pybind11 writes into a docstring: names, types and result, for each overload.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

_LINE = re.compile(r"^(?:\d+\. )?(?:\w+)?\((?P<arguments>.*)\) -> (?P<result>.+)$")
_WHOLE = ("int", "typing.SupportsInt", "typing.SupportsInt | typing.SupportsIndex")
#: What a Python value must be for a type that pybind11 names.
_ACCEPTED: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(_WHOLE, lambda value: isinstance(value, int)),
    "str": lambda value: isinstance(value, str),
    "bool": lambda value: isinstance(value, bool),
    "tuple": lambda value: isinstance(value, tuple),
    "list": lambda value: isinstance(value, list),
    "object": lambda value: True,
    **dict.fromkeys(
        ("buffer", "typing_extensions.Buffer", "collections.abc.Buffer"),
        lambda value: isinstance(value, bytes | bytearray | memoryview),
    ),
    # pybind11 makes Dims of either.
    "Dims": lambda value: (
        isinstance(value, tuple | list) and all(isinstance(size, int) for size in value)
    ),
}


class Checked:
    """An object of a real class, or that class itself, of which nothing but signatures exists.

    `answers` gives what a member of some name returns, or makes it of the arguments, where not any
    value of its type will do.
    """

    def __init__(self, kind: type, answers: Mapping[str, Any], seen: Counter[str]) -> None:
        vars(self).update(_kind=kind, _answers=answers, _seen=seen)

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._kind, name)  # AttributeError: this version has none
        self._seen[name] += 1
        if isinstance(member, property):
            return self._answer(name, _signatures(member.fget)[0][1])
        return lambda *given, **named: self._call(name, member, given, named)

    def __setattr__(self, name: str, value: Any) -> None:
        member = getattr(self._kind, name)
        assert isinstance(member, property), name
        assert member.fset is not None, f"{name} cannot be set"
        self._seen[name] += 1

    def _call(self, name: str, member: Any, given: Any, named: Mapping[str, Any]) -> Any:
        signatures = _signatures(member)
        fitting = [result for wanted, result in signatures if _fits(wanted[1:], given, named)]
        assert fitting, f"{name}{given} {named} fits none of {signatures}"
        return self._answer(name, fitting[0], *given)

    def _answer(self, name: str, result: str, *given: Any) -> Any:
        if name in self._answers:
            answer = self._answers[name]
            return answer(*given) if callable(answer) else answer
        short = _short(result)
        if result in _WHOLE:
            return 1
        if result in ("bool", "str", "None"):
            return {"bool": True, "str": "text", "None": None}[result]
        if result.lower().startswith("list["):
            return []
        if short == "IHostMemory":
            return b"plan"
        found = {"IParserError": "ParserError"}.get(short, short)
        return Checked(_CLASSES[found], self._answers, self._seen)


class CheckedModule:
    """The real module, whose builders, parsers and runtimes are `Checked`."""

    def __init__(self, module: ModuleType, answers: Mapping[str, Any]) -> None:
        self.seen: Counter[str] = Counter()
        self._module, self._answers = module, answers
        _CLASSES.update({n: v for n, v in vars(module).items() if isinstance(v, type)})

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._module, name)
        self.seen[name] += 1
        if name not in ("Builder", "OnnxParser", "Runtime"):
            return found

        def make(*given: Any) -> Checked:
            signatures = _signatures(found.__init__)
            assert any(_fits(wanted[1:], given, {}) for wanted, _ in signatures), (name, given)
            return Checked(found, self._answers, self.seen)

        return make


#: The real classes by name.
_CLASSES: dict[str, type] = {}


def _signatures(function: Any) -> list[tuple[list[tuple[str, str, bool]], str]]:
    """Return each overload: arguments as name, type and whether it may be left out; the result."""
    found = [_LINE.match(line.strip()) for line in (function.__doc__ or "").splitlines()]
    parsed = [(_arguments(one["arguments"]), one["result"]) for one in found if one]
    assert parsed, f"{function} has no signature"
    return parsed


def _arguments(text: str) -> list[tuple[str, str, bool]]:
    parts, depth, start = [], 0, 0
    for place, letter in enumerate(text + ","):
        depth += (letter in "([<") - (letter in ")]>")
        if letter == "," and not depth:
            parts.append(text[start:place].strip())
            start = place + 1
    arguments = []
    for part in filter(None, parts):
        name, _, rest = part.partition(":")
        kind, default, _ = rest.partition("=")
        arguments.append((name.strip(), kind.strip(), bool(default)))
    return arguments


def _fits(wanted: list[tuple[str, str, bool]], given: Any, named: Mapping[str, Any]) -> bool:
    left = dict(named)
    if len(given) > len(wanted):
        return False
    for index, (name, kind, optional) in enumerate(wanted):
        if index < len(given):
            value = given[index]
        elif name in left:
            value = left.pop(name)
        elif optional:
            continue
        else:
            return False
        if not _is(value, kind):
            return False
    return not left


def _is(value: Any, kind: str) -> bool:
    short = _short(kind)
    if kind in _ACCEPTED or short in _ACCEPTED:
        return _ACCEPTED[kind if kind in _ACCEPTED else short](value)
    wanted = _CLASSES[short]
    made = value._kind if isinstance(value, Checked) else type(value)
    return issubclass(made, wanted)


def _short(kind: str) -> str:
    return re.split(r"\.|::", kind)[-1]


def names_of(module: ModuleType) -> set[str]:
    """Every public name of the module's classes."""
    classes = [value for value in vars(module).values() if isinstance(value, type)]
    return {name for one in classes for name in vars(one) if not name.startswith("_")}
