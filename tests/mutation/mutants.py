"""Every small wrong version of a module: a comparison turned, a step left out, a limit moved by one."""

import ast
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

Change = tuple[str, ast.AST | None]
"""What was changed, and what stands there now; None: the statement is gone."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """A module with one change. `is_at_import`: outside of functions, where a class or a constant is made."""

    line: int
    what: str
    tree: ast.Module
    is_at_import: bool


_COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
}
_OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitOr,
}


def mutants(source: str) -> Iterator[Mutant]:
    """Yield each mutant of a module's source. Docstrings, messages of errors and annotations are left as they are."""
    tree = ast.parse(source)
    for path, node, in_function in _places(tree, (), in_function=False):
        for what, new in _changes(node):
            other = copy.deepcopy(tree)
            _put(other, path, new)
            yield Mutant(getattr(node, "lineno", 0), what, ast.fix_missing_locations(other), not in_function)


Path = tuple[tuple[str, int | None], ...]


def _places(node: ast.AST, path: Path, *, in_function: bool) -> Iterator[tuple[Path, ast.AST, bool]]:
    for name, value in ast.iter_fields(node):
        if _is_words(node, name):
            continue
        children = enumerate(value) if isinstance(value, list) else [(None, value)]
        for index, child in children:
            if isinstance(child, ast.AST) and not _is_docstring(child):
                here = (*path, (name, index))
                inside = in_function or isinstance(node, ast.FunctionDef | ast.Lambda)
                yield here, child, inside
                yield from _places(child, here, in_function=inside)


def _is_words(node: ast.AST, field: str) -> bool:
    """Whether a part of a node is for people or for the type checker: nothing that a program does depends on it."""
    if field in ("annotation", "returns", "decorator_list", "bases", "type_comment"):
        return True
    if isinstance(node, ast.keyword):
        return node.arg in ("expected", "next_step", "description")
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Raise) and field == "cause")


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _changes(node: ast.AST) -> Iterator[Change]:
    for change in _CHANGES.get(type(node), ()):
        yield from change(node)


def _comparison(node: ast.Compare) -> Iterator[Change]:
    for index, operator in enumerate(node.ops):
        for other in _COMPARISONS[type(operator)]:
            new = copy.deepcopy(node)
            new.ops[index] = other()
            yield ast.unparse(new), new


def _logic(node: ast.BoolOp) -> Iterator[Change]:
    new = copy.deepcopy(node)
    new.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
    yield ast.unparse(new), new
    for left_out in range(len(node.values)):
        rest = [value for index, value in enumerate(node.values) if index != left_out]
        fewer = rest[0] if len(rest) == 1 else ast.BoolOp(op=node.op, values=rest)
        yield f"{ast.unparse(node)} -> {ast.unparse(fewer)}", fewer


def _negation(node: ast.UnaryOp) -> Iterator[Change]:
    if isinstance(node.op, ast.Not):
        yield f"{ast.unparse(node)} -> {ast.unparse(node.operand)}", node.operand


def _arithmetic(node: ast.BinOp) -> Iterator[Change]:
    if type(node.op) in _OPERATORS:
        new = copy.deepcopy(node)
        new.op = _OPERATORS[type(node.op)]()
        yield ast.unparse(new), new


def _constant(node: ast.Constant) -> Iterator[Change]:
    if isinstance(node.value, bool):
        yield f"{node.value} -> {not node.value}", ast.Constant(not node.value)
    elif isinstance(node.value, int | float):
        yield f"{node.value} -> {node.value + 1}", ast.Constant(node.value + 1)


def _condition(node: ast.If | ast.IfExp | ast.While) -> Iterator[Change]:
    new = copy.deepcopy(node)
    new.test = ast.UnaryOp(op=ast.Not(), operand=node.test)
    yield f"if not ({ast.unparse(node.test)})", new


def _filter(node: ast.comprehension) -> Iterator[Change]:
    if node.ifs:
        new = copy.deepcopy(node)
        new.ifs = []
        yield f"without: if {ast.unparse(node.ifs[0])}", new


def _statement(node: ast.Expr | ast.Raise | ast.Continue | ast.Assign) -> Iterator[Change]:
    if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Yield):
        yield f"without: {ast.unparse(node)[:70]}", ast.Pass()


def _result(node: ast.Return) -> Iterator[Change]:
    if node.value is not None and not (isinstance(node.value, ast.Constant) and node.value.value is None):
        yield f"return None, not {ast.unparse(node.value)[:60]}", ast.Return(value=ast.Constant(None))


_CHANGES: dict[type[ast.AST], tuple[Callable[..., Iterator[Change]], ...]] = {
    ast.Compare: (_comparison,),
    ast.BoolOp: (_logic,),
    ast.UnaryOp: (_negation,),
    ast.BinOp: (_arithmetic,),
    ast.Constant: (_constant,),
    ast.If: (_condition,),
    ast.IfExp: (_condition,),
    ast.While: (_condition,),
    ast.comprehension: (_filter,),
    ast.Expr: (_statement,),
    ast.Raise: (_statement,),
    ast.Continue: (_statement,),
    ast.Return: (_result,),
}


def _put(tree: ast.AST, path: Path, new: ast.AST | None) -> None:
    node: ast.AST = tree
    for name, index in path[:-1]:
        value = getattr(node, name)
        node = value if index is None else value[index]
    name, index = path[-1]
    if index is None:
        setattr(node, name, new)
    else:
        getattr(node, name)[index] = new
