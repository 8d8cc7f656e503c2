"""The text fields of a value, found by walking its schema, so that a new field is covered without being listed."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from types import NoneType, UnionType
from typing import Annotated, Literal, Union, get_args, get_origin

from pydantic import BaseModel, Strict, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from data.canonical import Json

EACH = "*"
"""Stands in a path for every element of a list, and every value of a mapping."""

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TextField:
    """Where text stands in a value's JSON, and what the schema lets stand there."""

    path: Path
    adapter: TypeAdapter[str]

    @property
    def name(self) -> str:
        return ".".join(self.path)

    def takes(self, text: str) -> bool:
        """Whether the schema lets this text be here."""
        try:
            self.adapter.validate_python(text)
        except ValidationError:
            return False
        return True


def text_fields(kind: type[BaseModel]) -> Iterator[TextField]:
    """Yield each text field of a value, the fields of the values inside it included."""
    for name, field in kind.model_fields.items():
        yield from _walk(_annotation(field), ((field.alias or name),))


def _annotation(field: FieldInfo) -> object:
    return Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation


def _walk(annotation: object, path: Path, constraints: tuple[object, ...] = ()) -> Iterator[TextField]:
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *more = get_args(annotation)
        yield from _walk(inner, path, (*constraints, *more))
    elif annotation is str:
        yield TextField(path, TypeAdapter(Annotated[str, *constraints] if constraints else str))
    elif origin in (Union, UnionType):
        for one in get_args(annotation):
            if one is not NoneType:
                yield from _walk(one, path, constraints if one is str else ())
    elif origin in (tuple, list):
        for one in dict.fromkeys(arg for arg in get_args(annotation) if arg is not Ellipsis):
            yield from _walk(one, (*path, EACH))
    elif origin is dict:
        yield from _walk(get_args(annotation)[1], (*path, EACH))
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for field in text_fields(annotation):
            yield TextField((*path, *field.path), field.adapter)
    else:
        assert origin is Literal or isinstance(annotation, type), (path, annotation)


def plant(document: Json, path: Path, text: str) -> int:
    """Put `text` everywhere that `path` leads to in a value's JSON, and return in how many places that was.

    A text that is left out (None) is put there too; values that are left out, and empty lists, have no place.
    """
    head, rest = path[0], path[1:]
    if isinstance(document, list):
        keys: list[str | int] = [*range(len(document))]
    elif isinstance(document, dict):
        keys = [*document] if head == EACH else [key for key in (head,) if key in document]
    else:
        return 0
    if rest:
        return sum(plant(document[key], rest, text) for key in keys)  # type: ignore[index]
    texts = [key for key in keys if document[key] is None or isinstance(document[key], str)]  # type: ignore[index]
    for key in texts:
        document[key] = text  # type: ignore[index]
    return len(texts)


def example(annotation: object, constraints: tuple[object, ...] = ()) -> Json:
    """Return JSON of a value with one element in each list, and everything that may be left out in its place."""
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *more = get_args(annotation)
        return example(inner, (*constraints, *more))
    if origin in (Union, UnionType):
        return example(next(one for one in get_args(annotation) if one is not NoneType), constraints)
    if origin is Literal:
        return get_args(annotation)[0]
    if origin is tuple:
        args = get_args(annotation)
        return [example(one) for one in args if one is not Ellipsis]
    if origin is dict:
        return {"key": example(get_args(annotation)[1])}
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {field.alias or name: example(_annotation(field)) for name, field in annotation.model_fields.items()}
    assert isinstance(annotation, type), annotation
    candidates = _EXAMPLES[annotation]
    return next(one for one in candidates if _holds(Annotated[annotation, *constraints, Strict(strict=False)], one))


_EXAMPLES: dict[type, tuple[Json, ...]] = {
    str: ("text", "2026-01-01", "0" * 32, "declining"),
    bool: (True,),
    int: (1, 2, 0),
    float: (0.5, 1.0, 2.0),
    date: ("2026-01-01",),
    datetime: ("2026-01-01T00:00:00Z",),
}


def _holds(annotation: object, value: Json) -> bool:
    try:
        TypeAdapter(annotation).validate_python(value)
    except ValidationError:
        return False
    return True
