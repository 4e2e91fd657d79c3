"""Write small ONNX graphs, and change an output of a graph, without the library `onnx`.

A message of protobuf is its fields one after another, so a graph is made by joining bytes, and
added to by adding bytes. Numbers of fields are those of onnx.proto.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from deepmask.runtime.model.graph_file import fields_of

#: Types of tensors.
FLOAT, UINT8, INT64, FLOAT16 = 1, 2, 7, 10
#: All that is written here is in this version of the operators, and this form of file.
OPSET, IR_VERSION = 18, 8
_TYPES = {np.dtype(np.float32): FLOAT, np.dtype(np.int64): INT64}


class Graph:
    """A graph in the making; tensors are named by the order in which they are made."""

    def __init__(self, name: str) -> None:
        self._parts = [_text(2, name)]
        self._count = 0

    def input(self, name: str, kind: int, shape: Sequence[int | str]) -> None:
        """Declare an input; sizes that change have names."""
        self._parts.append(_bytes(11, _value(name, kind, shape)))

    def output(self, name: str, made: str, kind: int, shape: Sequence[int | str]) -> None:
        """Give the tensor `made` out under a name."""
        self._parts += [_bytes(1, node("Identity", [made], [name]))]
        self._parts.append(_bytes(12, _value(name, kind, shape)))

    def constant(self, value: npt.ArrayLike) -> str:
        """Add a constant; returns its name."""
        array, name = np.asarray(value), self._named()
        dims = b"".join(_number(1, size) for size in array.shape)
        kind = _number(2, _TYPES[array.dtype])
        raw = array.astype(array.dtype.newbyteorder("<")).tobytes()
        self._parts.append(_bytes(5, dims + kind + _text(8, name) + _bytes(9, raw)))
        return name

    def node(self, kind: str, *inputs: str, **attributes: int | list[int]) -> str:
        """Add a node; returns the name of its output."""
        [name] = self.nodes(kind, 1, *inputs, **attributes)
        return name

    def nodes(self, kind: str, count: int, *inputs: str, **attributes: Any) -> list[str]:
        """Add a node of several outputs."""
        outputs = [self._named() for _ in range(count)]
        self._parts.append(_bytes(1, node(kind, inputs, outputs, **attributes)))
        return outputs

    def model(self) -> bytes:
        """Return the file."""
        version = _bytes(8, _text(1, "") + _number(2, OPSET))
        return _number(1, IR_VERSION) + version + _bytes(7, b"".join(self._parts))

    def _named(self) -> str:
        self._count += 1
        return f"t{self._count}"


def node(
    kind: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: int | list[int]
) -> bytes:
    """Return a node, the content of a field 1 of a graph."""
    parts = [_text(1, name) for name in inputs] + [_text(2, name) for name in outputs]
    parts.append(_text(4, kind))
    for name, value in attributes.items():
        several = isinstance(value, list)
        values = value if isinstance(value, list) else [value]
        numbers = b"".join(_number(8 if several else 3, one) for one in values)
        parts.append(_bytes(5, _text(1, name) + numbers + _number(20, 7 if several else 2)))
    return b"".join(parts)


def with_half_output(model: bytes, name: str, shape: Sequence[int | str]) -> bytes:
    """Return a model whose float32 output `name`, of this shape, is float16."""
    wide = f"{name}_float32"
    parts = []
    for number, start, stop in fields_of(model, 0, len(model)):
        if number != 7:
            parts.append(_bytes(number, model[start:stop]) if stop else _number(number, start))
            continue
        cast = node("Cast", [wide], [name], to=FLOAT16)
        graph = [_renamed(model, start, stop, name, wide), _bytes(1, cast)]
        parts.append(_bytes(7, b"".join([*graph, _bytes(12, _value(name, FLOAT16, shape))])))
    return b"".join(parts)


def _renamed(model: bytes, start: int, stop: int, name: str, new: str) -> bytes:
    """Return a graph without the output `name`, and with that tensor called `new` in its nodes."""
    parts = []
    for number, at, end in fields_of(model, start, stop):
        content = model[at:end]
        if number == 12 and _first_text(content, 1) == name:
            continue
        if number == 1:
            old, renamed = name.encode(), []
            for field, a, b in fields_of(content, 0, len(content)):
                value = content[a:b]
                if field in (1, 2) and value == old:
                    value = new.encode()
                renamed.append(_bytes(field, value) if b else _number(field, a))
            content = b"".join(renamed)
        parts.append(_bytes(number, content) if end else _number(number, at))
    return b"".join(parts)


def _first_text(content: bytes, wanted: int) -> str:
    found = (
        content[a:b].decode() for n, a, b in fields_of(content, 0, len(content)) if n == wanted
    )
    return next(found, "")


def _value(name: str, kind: int, shape: Sequence[int | str]) -> bytes:
    sizes = (_number(1, one) if isinstance(one, int) else _text(2, one) for one in shape)
    dims = b"".join(_bytes(1, size) for size in sizes)
    tensor = _number(1, kind) + _bytes(2, dims)
    return _text(1, name) + _bytes(2, _bytes(1, tensor))


def _varint(value: int) -> bytes:
    made = bytearray()
    while value > 0x7F:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*made, value])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _text(field: int, text: str) -> bytes:
    return _bytes(field, text.encode())
