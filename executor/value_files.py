"""One of our values as a file: canonical JSON, replaced whole or not at all, read strictly."""

from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from data.canonical import canonical_bytes, read_strict
from data.durable import write_atomic
from data.errors import UserError
from data.values import Value

V = TypeVar("V", bound=Value)


def value_bytes(value: Value) -> bytes:
    """Return the canonical bytes of a value's file."""
    return canonical_bytes(value.model_dump(mode="json", by_alias=True)) + b"\n"


def write_value(path: Path, value: Value) -> None:
    """Write `value` to `path`, whole or not at all."""
    write_atomic(path, value_bytes(value))


def read_value(path: Path, kind: type[V]) -> V:
    """Read a value of one kind.

    Raises:
        UserError: unreadable, not JSON, or not such a value; names the first wrong field.
    """
    document = read_strict(path)
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UserError(f"{path} is not a {kind.__name__}: {where}: {first['msg']}") from error
