"""What can be changed in a piece of code: one small thing at a time, each a fault that somebody could have written.

Comparisons lose or gain their equality or their direction, sums become differences, conditions are turned round or dropped,
numbers are off by one, a call or an assignment is left out. Text, annotations, docstrings and messages stay as they are.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult, ast.Mod: ast.Add,
    ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change of a file: its `line` (from 1), what the line was, the change in words, and the whole new text."""

    line: int
    was: str
    change: str
    text: str


def mutants_of(source: str) -> list[Mutant]:
    """Every change of a module that the rules above know, in order of place; each parses, none is the original."""
    tree = ast.parse(source)
    lines = source.splitlines(keepends=True)
    found: list[Mutant] = []
    for node in _executed(tree):
        for changed in _changes(node):
            before, after = ast.unparse(node), "pass" if isinstance(changed, ast.Pass) else ast.unparse(changed)
            if before == after:
                continue
            replacement = after if isinstance(node, ast.stmt) else f"({after})"
            text = _replaced(lines, node, replacement)
            try:
                ast.parse(text)
            except SyntaxError:
                continue
            change = f"{_short(before)} -> {_short(after)}"
            found.append(Mutant(node.lineno, lines[node.lineno - 1].strip(), change, text))
    return sorted(found, key=lambda mutant: (mutant.line, mutant.change))


def _short(code: str) -> str:
    line = " ".join(code.split())
    return line if len(line) <= 90 else line[:87] + "..."


def _executed(tree: ast.Module) -> Iterator[ast.expr | ast.stmt]:
    """The nodes that do something when the code runs: no annotations, decorators, messages of errors, type checking."""
    stack: list[ast.AST] = [*tree.body]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.JoinedStr | ast.Import | ast.ImportFrom | ast.Raise | ast.Assert):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.expr | ast.stmt):
            yield node
        for name, value in ast.iter_fields(node):
            if name in (
                "annotation",
                "returns",
                "decorator_list",
                "type_comment",
                "bases",
                "keywords",
                "args",
            ) and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.AnnAssign | ast.arg):
                continue
            stack.extend(
                child for child in (value if isinstance(value, list) else [value]) if isinstance(child, ast.AST)
            )


def _changes(node: ast.expr | ast.stmt) -> Iterator[ast.AST]:
    match node:
        case ast.Compare(ops=[op]) if type(op) in COMPARISONS:
            yield _with(node, ops=[COMPARISONS[type(op)]()])
        case ast.BinOp(op=op) if type(op) in ARITHMETIC and not _is_text(node):
            yield _with(node, op=ARITHMETIC[type(op)]())
        case ast.AugAssign(op=op) if type(op) in ARITHMETIC:
            yield _with(node, op=ARITHMETIC[type(op)]())
        case ast.BoolOp(op=op):
            yield _with(node, op=ast.Or() if isinstance(op, ast.And) else ast.And())
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield operand
        case ast.UnaryOp(op=ast.USub(), operand=operand) if not isinstance(operand, ast.Constant):
            yield operand
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value)):
            yield ast.Constant(value + 1)
        case ast.Constant(value=float(value)):
            yield ast.Constant(value * 2 + 1)
        case ast.Expr(value=ast.Call()):
            yield ast.Pass()
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield ast.Pass()
        case ast.Continue():
            yield ast.Break()
        case ast.IfExp(test=test):
            yield _with(node, test=ast.UnaryOp(ast.Not(), test))


def _is_text(node: ast.BinOp) -> bool:
    return any(
        isinstance(part, ast.JoinedStr) or (isinstance(part, ast.Constant) and isinstance(part.value, str | bytes))
        for part in (node.left, node.right)
    )


def _with(node: ast.AST, **fields: object) -> ast.AST:
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


def _replaced(lines: list[str], node: ast.expr | ast.stmt, text: str) -> str:
    """The module with the node's text replaced. Columns are in UTF-8 bytes, as `ast` counts them."""
    assert node.end_lineno is not None and node.end_col_offset is not None
    first, last = lines[node.lineno - 1].encode(), lines[node.end_lineno - 1].encode()
    new = first[: node.col_offset].decode() + text + last[node.end_col_offset :].decode()
    return "".join((*lines[: node.lineno - 1], new, *lines[node.end_lineno :]))
