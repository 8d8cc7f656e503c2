"""A mutant put in the place of a module that is loaded, with all that hold its functions, classes and constants."""

import ast
import sys
from types import FunctionType, ModuleType

from pydantic import BaseModel


def put_in_place(module: ModuleType, tree: ast.Module, *, is_at_import: bool) -> None:
    """Make `module` behave as `tree` says. Functions keep their identity and get other code."""
    assert module.__file__ is not None
    fresh = dict(module.__dict__)
    exec(compile(tree, module.__file__, "exec"), fresh)
    for name, old in list(module.__dict__.items()):
        new = fresh[name]
        if isinstance(old, FunctionType) and old.__module__ == module.__name__:
            _take_over(old, new)
        elif isinstance(old, type) and old.__module__ == module.__name__:
            _take_over_class(old, new, is_at_import=is_at_import)
        elif is_at_import and not isinstance(old, ModuleType) and name.lstrip("_").isupper():
            _replace(name, old, new)


def _take_over(old: FunctionType, new: FunctionType) -> None:
    old.__code__, old.__defaults__, old.__kwdefaults__ = new.__code__, new.__defaults__, new.__kwdefaults__


def _take_over_class(old: type, new: type, *, is_at_import: bool) -> None:
    for name, member in list(vars(old).items()):
        other = vars(new).get(name)
        if isinstance(member, FunctionType) and isinstance(other, FunctionType):
            if len(member.__code__.co_freevars) == len(other.__code__.co_freevars):
                _take_over(member, other)
        elif isinstance(member, property) and isinstance(other, property):
            _take_over(member.fget, other.fget)  # type: ignore[arg-type]
    if is_at_import and issubclass(old, BaseModel):
        _replace(old.__name__, old, new)


def _replace(name: str, old: object, new: object) -> None:
    for module in list(sys.modules.values()):
        if getattr(module, "__dict__", {}).get(name) is old:
            setattr(module, name, new)
