"""Seeded mutations of a valid file: of its bytes, of its text, and of the values that it holds."""

from __future__ import annotations

import io
import json
import random
import re
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

WRONG: tuple[Any, ...] = (None, [], {}, [None], "", "x", "é" * 9, -1, 0, 2**63, 10**400, 1e308, 1e-320, True)
WRONG += (float("nan"), float("-inf"), [[[[]]]], {"x": {}}, "../../etc/passwd", "a\0b")
TOKENS = ("NaN", "inf", "-1", "0", "1e999", "9" * 5000, "", "'", '"', "\0", "\r", "\ufeff", "=1+1", "x" * 200_000, "/")
WORD = re.compile(r"[\w.+-]+")
PAIRS = (("[", "]"), ("{", "}"), ("(", ")"), ("<a>", "</a>"), ('{"a":', "}"), ("- ", ""), ('"', '"'))


def mutate_bytes(content: bytes, draws: random.Random) -> bytes:
    """Flip, overwrite, cut, repeat or insert bytes in one to four places."""
    data = bytearray(content)
    for _ in range(draws.randint(1, 4)):
        start = draws.randrange(len(data) + 1)
        end = min(len(data), start + draws.choice((1, 1, 2, 4, 8, 64, 1024)))
        choice = draws.randrange(6)
        if choice == 0:
            data[start:end] = bytes(byte ^ (1 << draws.randrange(8)) for byte in data[start:end])
        elif choice == 1:
            data[start:end] = bytes([draws.choice((0, 255, 127, 128))]) * (end - start)
        elif choice == 2:
            del data[start:]
        elif choice == 3:
            data[start:start] = data[start:end] * draws.choice((1, 2, 100))
        elif choice == 4:
            data[start:start] = draws.choice((b"\xff", b"\xed\xa0\x80", b"\0", b"\r", b"\xfe\xff", draws.randbytes(8)))
        else:
            del data[start:end]
    return bytes(data)


def mutate_text(content: bytes, draws: random.Random) -> bytes:
    """Replace a word, nest it deep, or repeat, drop or swap lines."""
    text = content.decode()
    words, lines = list(WORD.finditer(text)), text.splitlines(keepends=True)
    choice = draws.randrange(5)
    if choice < 2 and words:
        word = draws.choice(words)
        new = draws.choice((*TOKENS, draws.choice(words)[0]))
        return (text[: word.start()] + new + text[word.end() :]).encode()
    if choice == 2 and words:
        word, (opening, closing), depth = draws.choice(words), draws.choice(PAIRS), draws.choice((60, 1_500, 100_000))
        return (text[: word.start()] + opening * depth + word[0] + closing * depth + text[word.end() :]).encode()
    place = draws.randrange(len(lines) or 1)
    if choice == 3:
        lines[place:place] = lines[place : place + 1] * draws.choice((1, 2, 1_000))
    else:
        del lines[place : place + draws.randint(1, 3)]
    return "".join(lines).encode()


def mutate_value(value: Any, draws: random.Random) -> Any:
    """Replace, remove or repeat one node, at any depth, of nested lists and dictionaries."""
    keys: list[Any] = (
        list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    )
    if not keys or draws.random() < 0.12:
        return draws.choice(WRONG)
    key, changed = draws.choice(keys), value.copy()
    if draws.random() < 0.15:
        del changed[key]
    elif isinstance(changed, list) and draws.random() < 0.1:
        changed.insert(key, changed[key])
    else:
        changed[key] = mutate_value(value[key], draws)
    return changed


def mutate_json(content: bytes, draws: random.Random) -> bytes:
    """Mutate a value of a JSON file."""
    return json.dumps(mutate_value(json.loads(content), draws)).encode()


def mutate_yaml(content: bytes, draws: random.Random) -> bytes:
    """Mutate a value of a YAML file."""
    return yaml.safe_dump(mutate_value(yaml.safe_load(content), draws), allow_unicode=True).encode()


def mutate_parquet(content: bytes, draws: random.Random) -> bytes:
    """Drop, repeat or retype a column of a table, make it null, or put wrong values into it; or change the rows."""
    table = pq.read_table(io.BytesIO(content))
    place = draws.randrange(table.num_columns)
    name, column = table.column_names[place], table.column(place)
    choice = draws.randrange(5)
    if choice == 0:
        table = table.remove_column(place)
    elif choice == 1:
        table = table.set_column(place, name, pa.nulls(table.num_rows, column.type))
    elif choice == 2:
        wrong = draws.choice((0, -1.5, 2**40, "x", [1.0], {"a": 1}, True, b"\xff", [[]]))
        table = table.set_column(place, name, pa.array([wrong] * table.num_rows))
    elif choice == 3:
        table = pa.concat_tables([table.slice(0, draws.randrange(table.num_rows)), table])
    elif table.schema.metadata:
        kept = {key: mutate_text(value, draws) for key, value in table.schema.metadata.items()}
        table = table.replace_schema_metadata(kept)
    else:
        values = column.to_pylist()
        values[draws.randrange(len(values))] = (
            draws.choice((None, float("nan"))) if pa.types.is_floating(column.type) else None
        )
        table = table.set_column(place, name, pa.array(values, column.type))
    stream = io.BytesIO()
    pq.write_table(table, stream)
    return stream.getvalue()


MUTATORS: dict[str, tuple[Callable[[bytes, random.Random], bytes], ...]] = {
    "bytes": (mutate_bytes,),
    "text": (mutate_text, mutate_text, mutate_bytes),
    "json": (mutate_json, mutate_json, mutate_text, mutate_bytes),
    "yaml": (mutate_yaml, mutate_yaml, mutate_text, mutate_bytes),
    "parquet": (mutate_parquet, mutate_bytes),
}
"""By kind of file, the mutations that are drawn from."""


def mutated(content: bytes, kind: str, seed: str) -> bytes:
    """A mutation of a valid file's content; the same for the same seed."""
    draws = random.Random(seed)
    return draws.choice(MUTATORS[kind])(content, draws)
