"""Canonical JSON and its digest: the same value gives the same bytes on every machine (RFC 8785 key order and spacing).

Reading is strict, because plans, approvals and manifests are hostile input until verified: duplicate keys, NaN,
infinity and more than `MAX_BYTES` are refused.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path

from data.errors import UserError
from data.text import one_line

Json = dict[str, "Json"] | list["Json"] | str | int | float | bool | None

MAX_BYTES = 1 << 20


def canonical_bytes(value: Json) -> bytes:
    """Return the one serialisation of `value`: sorted keys, no spaces, UTF-8, shortest round-trip floats.

    Raises:
        ValueError: a NaN or an infinity is inside.
        UserError: half a character is inside, as in the name of a file that is not UTF-8.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        around = text[max(0, error.start - 40) : error.end + 40].encode(errors="replace").decode()
        raise UserError(f"text that is no Unicode: {around}", expected="names and paths in UTF-8") from error


def digest(value: Json) -> str:
    """Return the sha256, in hex, of the canonical bytes of `value`."""
    return hashlib.sha256(canonical_bytes(value)).hexdigest()


def parse_strict(text: bytes, *, name: str, max_bytes: int = MAX_BYTES) -> Json:
    """Parse JSON from outside.

    Raises:
        UserError: too large, not JSON, a duplicate key, or a number JSON does not have.
    """
    if len(text) > max_bytes:
        raise UserError(f"{name} is {len(text)} bytes", expected=f"at most {max_bytes}")
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse, parse_float=_finite)
        if b"\\u" in text:
            canonical_bytes(value)  # an escape may spell half a character, which has no bytes
        return value
    except (ValueError, RecursionError, UserError) as error:
        raise UserError(f"{name} is not valid JSON: {error}") from error


def read_strict(path: Path, *, max_bytes: int = MAX_BYTES) -> Json:
    """Read and parse one JSON file; see `parse_strict`."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    return parse_strict(text, name=str(path), max_bytes=max_bytes)


def flatten(value: Json, prefix: str = "") -> dict[str, Json]:
    """Return every leaf of `value` under its dotted path: `{"a": {"b": [1]}}` becomes `{"a.b.0": 1}`."""
    if isinstance(value, Mapping):
        items = [(f"{prefix}.{key}" if prefix else key, child) for key, child in value.items()]
    elif isinstance(value, list):
        items = [(f"{prefix}.{index}" if prefix else str(index), child) for index, child in enumerate(value)]
    else:
        return {prefix: value}
    return {path: leaf for name, child in items for path, leaf in flatten(child, name).items()}


def changes(old: Json, new: Json) -> tuple[str, ...]:
    """Return one line `path: old -> new` for each leaf that differs, in path order."""
    before, after = flatten(old), flatten(new)
    paths = sorted(set(before) | set(after))
    return tuple(
        one_line(f"{path}: {_show(before, path)} -> {_show(after, path)}")
        for path in paths
        if before.get(path, _ABSENT) != after.get(path, _ABSENT)
    )


_ABSENT: Json = "(absent)"


def _show(leaves: dict[str, Json], path: str) -> str:
    return json.dumps(leaves[path], ensure_ascii=False) if path in leaves else "(absent)"


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    result = dict(pairs)
    if len(result) != len(pairs):
        names = [key for key, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} stands twice")
    return result


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text[:40]} is beyond every number JSON can give back")
    return value


def _refuse(constant: str) -> Json:
    raise ValueError(f"{constant} is not a JSON number")
