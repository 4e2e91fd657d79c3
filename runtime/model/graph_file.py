"""Check that nothing in an ONNX file, which anyone may have written, reaches beyond the file.

The file is walked as protobuf lays it out, so that no spelling of a field is missed, at any place
and depth. Whether the graph computes anything is for the engine to say.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from pathlib import Path

from deepmask.runtime.validation import ContentError

#: Most fields that are looked at: real graphs have thousands.
MOST_FIELDS = 1_000_000
#: Operators of other domains come from libraries, or make an engine read further files.
DOMAINS = (b"", b"ai.onnx")

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED = {_FIXED64: 8, _FIXED32: 4}

#: Which fields of onnx.proto hold messages that are walked too.
_INSIDE: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse tensor"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 10: "tensor", 22: "sparse tensor", 23: "sparse tensor"},
    "sparse tensor": {1: "tensor", 2: "tensor"},
}
_ELSEWHERE = "keeps weights in another file"
#: Which fields are refused, whatever they hold.
_REFUSED: Mapping[str, Mapping[int, str]] = {
    "model": {20: "holds a training graph", 25: "holds functions of its own"},
    "attribute": {6: "holds a graph within the graph", 11: "holds graphs within the graph"},
    "tensor": {13: _ELSEWHERE},
}
_TENSOR_DATA_LOCATION = 14
_NODE_DOMAIN = 7


def check_graph_file(path: Path) -> None:
    """Raise `ContentError` unless a file is ONNX whose weights and operators are all its own.

    Refused are tensors kept in other files, operators outside `DOMAINS`, and what our graphs have
    no use for: subgraphs (loops among them), local functions, training graphs.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        _walk(content)


def _walk(content: mmap.mmap) -> None:
    fields = 0
    waiting = [("model", 0, len(content))]  # no recursion: depth is the file's choice
    while waiting:
        message, start, stop = waiting.pop()
        for number, value, end in fields_of(content, start, stop):
            fields += 1
            if fields > MOST_FIELDS:
                raise ContentError(f"has more than {MOST_FIELDS} fields, which no graph needs")
            if what := _REFUSED.get(message, {}).get(number):
                raise ContentError(f"{what}, which is not accepted")
            if message == "tensor" and number == _TENSOR_DATA_LOCATION and value:
                raise ContentError(f"{_ELSEWHERE}, which is not accepted")
            if message == "node" and number == _NODE_DOMAIN and content[value:end] not in DOMAINS:
                domain = content[value:end]
                raise ContentError(f"has an operator of {domain!r:.60}, which is not ONNX's own")
            if end and number in _INSIDE.get(message, {}):
                waiting.append((_INSIDE[message][number], value, end))


def fields_of(content: mmap.mmap | bytes, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """Yield a message's fields: number, then where its bytes begin and end, or its value and 0."""
    at = start
    while at < stop:
        tag, at = _varint(content, at, stop)
        number, kind = tag >> 3, tag & 7
        if not 0 < tag < 1 << 32 or not number:  # parsers cut longer tags off, and see another
            raise ContentError(f"is not ONNX: no field at byte {at}")
        if kind == _VARINT:
            value, at = _varint(content, at, stop)
            yield number, value, 0
            continue
        if kind == _BYTES:
            length, at = _varint(content, at, stop)
        elif kind in _FIXED:
            length = _FIXED[kind]
        else:  # groups, which ONNX never had
            raise ContentError(f"is not ONNX: no field at byte {at}")
        if length > stop - at:
            raise ContentError(f"is not ONNX, or cut short: {length} bytes are missing at {at}")
        yield number, at, at + length
        at += length


def _varint(content: mmap.mmap | bytes, at: int, stop: int) -> tuple[int, int]:
    """Return the number at a place, of as many bytes as protobuf allows, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= stop:
            raise ContentError(f"is not ONNX, or cut short at byte {at}")
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ContentError(f"is not ONNX: no number at byte {at}")
