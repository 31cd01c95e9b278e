"""Reader of MATLAB files of level 5 that checks every length: a damaged file is an error, never a crash.

The format: MathWorks, "MAT-File Format". SciPy's compiled reader trusts a file's lengths and types.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

HEADER = 128
LARGEST_VARIABLE = 256 << 20
"""Bytes of a decompressed variable; the releases' have at most some megabytes."""
MAX_DEPTH = 16
"""Structures and cells inside one another."""
MAX_AXES = 32

NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
"""Types of stored numbers."""
ENCODINGS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
"""Types of stored characters."""
INT32, UINT32, MATRIX, COMPRESSED = 5, 6, 14, 15
CELL, STRUCTURE, TEXT = 1, 2, 4
CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
"""Classes of numeric arrays."""
COMPLEX = 0x0800


class DamagedError(ValueError):
    """The bytes are not a whole MATLAB file of level 5."""


def read_level5(content: bytes, wanted: Collection[str]) -> tuple[dict[str, Any], list[str]]:
    """Read the `wanted` variables of a file's `content`; returns them and the names of all variables.

    A variable is a numeric array without axes of length 1, a text, an object array of what is in its cells, or one of
    dictionaries, one per structure; a single element stands for itself. Raises `DamagedError`.
    """
    mark = content[HEADER - 2 : HEADER]
    if mark not in (b"IM", b"MI"):
        raise DamagedError("no header of level 5")
    order = "<" if mark == b"IM" else ">"
    if struct.unpack(f"{order}H", content[HEADER - 4 : HEADER - 2])[0] >> 8 != 1:
        raise DamagedError("another version than level 5")
    found: dict[str, Any] = {}
    names: list[str] = []
    stream = _Elements(content, order, HEADER)
    while not stream.at_end:
        kind, data = stream.next()
        if kind == COMPRESSED:
            kind, data = _Elements(_decompress(data), order).next()
        if kind != MATRIX:
            raise DamagedError(f"a variable of the unknown type {kind}")
        matrix = _Elements(data, order)
        head = _head(matrix)
        names.append(head.name)
        if head.name in wanted:
            found[head.name] = _value(matrix, head, 0)
    return found, names


class _Elements:
    """The data elements of a byte string, one after the other; inside a matrix they are padded to eight bytes."""

    def __init__(self, content: bytes | memoryview, order: str, start: int = 0) -> None:
        self.content, self.order, self.at = memoryview(content), order, start

    @property
    def at_end(self) -> bool:
        return self.at >= len(self.content)

    @property
    def left(self) -> int:
        return len(self.content) - self.at

    def next(self) -> tuple[int, memoryview]:
        """Return the type and the data of the next element."""
        if self.left < 8:
            raise DamagedError("it ends inside an element")
        kind, size = struct.unpack_from(f"{self.order}II", self.content, self.at)
        start = self.at + 8
        if kind >> 16:  # up to four bytes of data, stored inside the tag
            kind, size, start = kind & 0xFFFF, kind >> 16, self.at + 4
            if size > 4:
                raise DamagedError(f"a small element of {size} bytes")
            self.at += 8
        else:
            if size > len(self.content) - start:
                raise DamagedError("it ends inside an element")
            self.at = start + size + (-size % 8 if kind != COMPRESSED else 0)
        return kind, self.content[start : start + size]

    def numbers(self) -> np.ndarray:
        """Return the next element's numbers."""
        kind, data = self.next()
        if kind not in NUMBERS:
            raise DamagedError(f"numbers of the unknown type {kind}")
        return _array(data, self.order + NUMBERS[kind])

    def text(self) -> str:
        """Return the next element's text."""
        kind, data = self.next()
        if kind not in ENCODINGS:
            raise DamagedError(f"text of the unknown type {kind}")
        return _decoded(data, kind, self.order)


@dataclass(frozen=True)
class _Head:
    kind: int
    shape: tuple[int, ...]
    name: str

    @property
    def count(self) -> int:
        return math.prod(self.shape)


def _head(matrix: _Elements) -> _Head:
    """Read what precedes a matrix's content: its class, shape and name."""
    kind, flags = matrix.next()
    if kind != UINT32 or len(flags) != 8:
        raise DamagedError("a matrix without its flags")
    word = struct.unpack_from(f"{matrix.order}I", flags)[0]
    if word & COMPLEX:
        raise DamagedError("complex numbers")
    kind, sizes = matrix.next()
    shape = tuple(map(int, _array(sizes, f"{matrix.order}i4")))
    if kind != INT32 or not 2 <= len(shape) <= MAX_AXES or min(shape) < 0:
        raise DamagedError("a matrix without its shape")
    return _Head(word & 0xFF, shape, matrix.text())


def _value(matrix: _Elements, head: _Head, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise DamagedError(f"more than {MAX_DEPTH} arrays inside one another")
    value = _content(matrix, head, depth)
    if not matrix.at_end:
        raise DamagedError("an array with more elements than its shape has")
    return value


def _content(matrix: _Elements, head: _Head, depth: int) -> Any:
    if head.kind in CLASSES:
        values = matrix.numbers()
        if len(values) != head.count:
            raise DamagedError(f"{len(values):,} numbers for an array of {head.count:,}")
        if values.dtype.kind == "f" and CLASSES[head.kind][0] != "f":
            raise DamagedError("fractions in an array of whole numbers")
        return _squeezed(values.astype(CLASSES[head.kind]), head.shape)
    if head.kind == TEXT:
        return _lines(matrix.text(), head)
    if head.kind == CELL:
        return _squeezed(_objects(_inner(matrix, head.count, depth)), head.shape)
    if head.kind == STRUCTURE:
        return _structures(matrix, head, depth)
    raise DamagedError(f"an array of the class {head.kind}, which is neither numbers, text, cells nor structures")


def _inner(matrix: _Elements, count: int, depth: int) -> Iterator[Any]:
    """Read so many matrices, each of which takes eight bytes at least."""
    if count * 8 > matrix.left:
        raise DamagedError(f"it ends before {count:,} elements")
    for _ in range(count):
        kind, data = matrix.next()
        if kind != MATRIX:
            raise DamagedError(f"an element of the type {kind} among arrays")
        inner = _Elements(data, matrix.order)
        yield _value(inner, _head(inner), depth + 1) if len(data) else np.empty(0)


def _structures(matrix: _Elements, head: _Head, depth: int) -> Any:
    length = matrix.numbers()
    kind, data = matrix.next()
    if len(length) != 1 or not 0 < length[0] <= 256 or len(data) % int(length[0]) or kind not in ENCODINGS:
        raise DamagedError("structures without the names of their fields")
    size = int(length[0])
    raw = (bytes(data[start : start + size]).partition(b"\0")[0] for start in range(0, len(data), size))
    fields = [_decoded(memoryview(name), 1, matrix.order) for name in raw]
    if not fields or len(set(fields)) < len(fields):
        raise DamagedError("structures whose fields have no names, or the same")
    values = list(_inner(matrix, head.count * len(fields), depth))
    rows = (dict(zip(fields, values[n : n + len(fields)], strict=True)) for n in range(0, len(values), len(fields)))
    return _squeezed(_objects(rows), head.shape)


def _lines(text: str, head: _Head) -> Any:
    """Return a text of one row, or an array of the rows, whose characters are stored column by column."""
    if len(text) != head.count:
        raise DamagedError(f"{len(text):,} characters for a text of {head.count:,}")
    if len(head.shape) != 2 or head.shape[0] <= 1:
        return text
    rows = head.shape[0]
    return _objects(text[row::rows].rstrip() for row in range(rows))


def _objects(values: Any) -> np.ndarray:
    listed = list(values)
    array = np.empty(len(listed), dtype=object)
    for place, value in enumerate(listed):
        array[place] = value  # assigned together, arrays of one shape would become one array
    return array


def _squeezed(values: np.ndarray, shape: tuple[int, ...]) -> Any:
    """Shape values that are stored column by column, without axes of length 1; a single one stands for itself."""
    return values[0] if len(values) == 1 else values.reshape(shape, order="F").squeeze()


def _array(data: memoryview, dtype: str) -> np.ndarray:
    try:
        return np.frombuffer(data, dtype)
    except ValueError as error:
        raise DamagedError(f"{len(data):,} bytes of numbers that have {np.dtype(dtype).itemsize} each") from error


def _decoded(data: memoryview, kind: int, order: str) -> str:
    encoding = ENCODINGS[kind] + (("-le" if order == "<" else "-be") if ENCODINGS[kind] in ("utf-16", "utf-32") else "")
    try:
        text = bytes(data).decode(encoding)
    except UnicodeDecodeError as error:
        raise DamagedError(f"text that is not {encoding}") from error
    if "\0" in text:
        raise DamagedError("text with a zero in it")
    return text


def _decompress(data: memoryview) -> bytes:
    inflater = zlib.decompressobj()
    try:
        content = inflater.decompress(data, LARGEST_VARIABLE)
    except zlib.error as error:
        raise DamagedError(f"a compressed variable that does not unpack ({error})") from error
    if inflater.unconsumed_tail:
        raise DamagedError(f"a variable of more than {LARGEST_VARIABLE >> 20} MiB")
    if not inflater.eof:
        raise DamagedError("it ends inside a compressed variable")
    return content
