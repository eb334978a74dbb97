"""Constraints: inequalities between parameters and metrics, read by a small parser of their own (never `eval`).

The language: numbers, texts, names; `+ - * / % **`, `abs min max sqrt log exp`; `< <= > >= == !=`, also chained;
`and`, `or`, `not`, brackets. Evaluated in whole columns. Besides whether it holds, a constraint says by how much
it does not, in units of its own sides, which is what a search can follow.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from typing import Any

from arbd.arrays import Floats, np
from arbd.values import dataclass

MAX_CHARS = 400
MAX_DEPTH = 20

# How many arguments each takes, and what NumPy calls it.
_FUNCTIONS = {
    "abs": (1, "abs"),
    "sqrt": (1, "sqrt"),
    "log": (1, "log"),
    "exp": (1, "exp"),
    "min": (2, "minimum"),
    "max": (2, "maximum"),
}
_OPERATORS: Mapping[type[ast.operator], str] = {
    ast.Add: "add",
    ast.Sub: "subtract",
    ast.Mult: "multiply",
    ast.Div: "divide",
    ast.Mod: "mod",
    ast.Pow: "power",
}
_SIGNS: Mapping[type[ast.unaryop], str] = {ast.USub: "negative", ast.UAdd: "positive"}


class ConstraintError(ValueError):
    """The text is no constraint; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Constraint:
    """A constraint that was read.

    `names` are the parameters and metrics that it speaks of, `numbers` those of them that it computes with or orders.
    """

    text: str
    names: frozenset[str]
    numbers: frozenset[str]
    _tree: ast.expr

    @property
    def terms(self) -> int:
        """Names, numbers and operators, each of which is computed for every row: what it costs."""
        return sum(isinstance(node, ast.expr) for node in ast.walk(self._tree))

    def violation(self, values: Mapping[str, Any], n: int) -> Floats:
        """By how much each of n rows breaks it: 0 where it holds, inf where a value is not there or undefined."""
        with np.errstate(all="ignore"):
            found = np.broadcast_to(_violation(self._tree, values), (n,)).astype(np.float64)
        return np.where(np.isnan(found), np.inf, found)

    def margin(self, values: Mapping[str, Any], n: int) -> Floats:
        """How far each of n rows is from where it begins to break it, in the units of `violation`, above 0 where it does.

        NaN where a value is not there or undefined. Between a strict comparison that holds and one that does not lies 0.
        """
        with np.errstate(all="ignore"):
            return np.broadcast_to(_margin(self._tree, values), (n,)).astype(np.float64)


def parse_constraint(text: str) -> Constraint:
    """Read a constraint; ConstraintError says what is wrong."""
    if len(text) > MAX_CHARS:
        raise ConstraintError(f"longer than {MAX_CHARS} characters")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ConstraintError(f"not an inequality such as 'trades >= 30' ({getattr(error, 'msg', error)})") from error
    _check_condition(tree, 1)
    names = _names(tree)
    if not names:
        raise ConstraintError("names no parameter and no metric")
    return Constraint(text.strip(), frozenset(names), frozenset(_numbers(tree)), tree)


def renamed(constraint: Constraint, names: Mapping[str, str]) -> Constraint:
    """The constraint with some names replaced."""
    if not constraint.names & names.keys():
        return constraint
    tree = ast.parse(constraint.text, mode="eval").body
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            node.id = names.get(node.id, node.id)
    return parse_constraint(ast.unparse(tree))


def as_values(decoded: Mapping[str, Any]) -> dict[str, Any]:
    """Columns of a space as constraints take them: choices may be numbers beside texts, each row by itself."""
    return {
        name: np.array(column, dtype=object) if isinstance(column, list) else np.asarray(column)
        for name, column in decoded.items()
    }


def total_violation(constraints: Iterable[Constraint], values: Mapping[str, Any], n: int) -> Floats:
    """Sum over constraints; 0 for rows that keep all of them."""
    total = np.zeros(n)
    for constraint in constraints:
        total = total + constraint.violation(values, n)
    return total


def _names(tree: ast.expr) -> set[str]:
    calls = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and id(node) not in calls}


def _numbers(tree: ast.expr) -> set[str]:
    """Names that stand in an ordering comparison, or in anything that is computed."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            for operator, left, right in zip(node.ops, sides, sides[1:], strict=False):
                if not isinstance(operator, ast.Eq | ast.NotEq):
                    found |= _names(left) | _names(right)
        elif isinstance(node, ast.BinOp | ast.Call) or (isinstance(node, ast.UnaryOp) and type(node.op) in _SIGNS):
            found |= _names(node)
    return found


def _check_condition(node: ast.expr, depth: int) -> None:
    """`depth` is that of the values which the condition compares, whose check refuses what is nested too deeply."""
    if isinstance(node, ast.BoolOp):
        for part in node.values:
            _check_condition(part, depth + 1)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        _check_condition(node.operand, depth + 1)
    elif isinstance(node, ast.Compare):
        _check_comparison(node, depth)
    else:
        raise ConstraintError("not an inequality such as 'trades >= 30'")


def _check_comparison(node: ast.Compare, depth: int) -> None:
    sides = (node.left, *node.comparators)
    for side in sides:
        _check_value(side, depth)
    for operator, left, right in zip(node.ops, sides, sides[1:], strict=False):
        if isinstance(operator, ast.Eq | ast.NotEq):
            continue
        if not isinstance(operator, ast.Lt | ast.LtE | ast.Gt | ast.GtE):
            raise ConstraintError("compares with < <= > >= == != only")
        if _is_text(left) or _is_text(right):
            raise ConstraintError("texts are compared by == and != only")


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _check_value(node: ast.expr, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ConstraintError(f"nested deeper than {MAX_DEPTH} levels")
    if isinstance(node, ast.Name):
        return
    if isinstance(node, ast.Constant):
        _check_constant(node.value)
    elif isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        _check_value(node.left, depth + 1)
        _check_value(node.right, depth + 1)
    elif isinstance(node, ast.UnaryOp) and type(node.op) in _SIGNS:
        _check_value(node.operand, depth + 1)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
        _check_function(node.func.id, len(node.args))
        for argument in node.args:
            _check_value(argument, depth + 1)
    else:
        raise ConstraintError(f"{ast.unparse(node)!r} is not allowed in a constraint")


def _check_constant(value: object) -> None:
    if not isinstance(value, int | float | str) or abs(_size(value)) > 1e300:
        raise ConstraintError(f"{value!r} is neither a number nor a text")


def _check_function(name: str, arguments: int) -> None:
    if name not in _FUNCTIONS:
        raise ConstraintError(f"unknown function {name!r}; known are {', '.join(_FUNCTIONS)}")
    count = _FUNCTIONS[name][0]
    if arguments != count:
        raise ConstraintError(f"{name} takes {count} value{'s' if count > 1 else ''}")


def _size(value: float | str) -> float:
    try:
        return 0.0 if isinstance(value, str) else float(value)
    except OverflowError:
        return float("inf")


def _violation(node: ast.expr, values: Mapping[str, Any]) -> Any:
    if isinstance(node, ast.BoolOp):
        parts = [_violation(part, values) for part in node.values]
        joined = parts[0]
        for part in parts[1:]:
            joined = joined + part if isinstance(node.op, ast.And) else np.fmin(joined, part)
        return joined
    if isinstance(node, ast.UnaryOp):
        inner = _violation(node.operand, values)
        return np.where(np.isnan(inner), np.nan, np.where(inner > 0, 0.0, 1.0))
    assert isinstance(node, ast.Compare)
    sides = [_value(side, values) for side in (node.left, *node.comparators)]
    total: Any = 0.0
    for operator, left, right in zip(node.ops, sides, sides[1:], strict=False):
        total = total + _excess(operator, left, right)
    return total


def _margin(node: ast.expr, values: Mapping[str, Any]) -> Any:
    if isinstance(node, ast.BoolOp):
        parts = [_margin(part, values) for part in node.values]
        # One that holds is enough for `or`, whatever is not known of the others.
        return (np.maximum if isinstance(node.op, ast.And) else np.fmin).reduce(np.broadcast_arrays(*parts))
    if isinstance(node, ast.UnaryOp):
        return -_margin(node.operand, values)
    assert isinstance(node, ast.Compare)
    sides = [_value(side, values) for side in (node.left, *node.comparators)]
    parts = [
        _distance(operator, left, right) for operator, left, right in zip(node.ops, sides, sides[1:], strict=False)
    ]
    return np.maximum.reduce(np.broadcast_arrays(*parts))


def _distance(operator: ast.cmpop, left: Any, right: Any) -> Any:
    if isinstance(operator, ast.Eq | ast.NotEq):
        return 2.0 * _excess(operator, left, right) - 1.0
    low, high = (left, right) if isinstance(operator, ast.Lt | ast.LtE) else (right, left)
    return _apart(np.asarray(_number(low), dtype=np.float64), np.asarray(_number(high), dtype=np.float64))


def _apart(low: Any, high: Any) -> Any:
    """In units of the sides themselves."""
    return (low - high) / np.maximum(1.0, np.maximum(np.abs(low), np.abs(high)))


def _excess(operator: ast.cmpop, left: Any, right: Any) -> Any:
    if isinstance(operator, ast.Eq | ast.NotEq):
        equal = np.asarray(left == right)
        unknown = _unknown(left) | _unknown(right)
        return np.where(unknown, np.nan, np.where(equal == isinstance(operator, ast.Eq), 0.0, 1.0))
    low, high = (left, right) if isinstance(operator, ast.Lt | ast.LtE) else (right, left)
    low, high = np.asarray(_number(low), dtype=np.float64), np.asarray(_number(high), dtype=np.float64)
    strict = isinstance(operator, ast.Lt | ast.Gt)
    held = (low < high) if strict else (low <= high)
    # Never 0 where it does not hold, or equal sides of a strict one would pass.
    by = np.maximum(_apart(low, high), 1e-9)
    return np.where(np.isnan(low) | np.isnan(high), np.nan, np.where(held, 0.0, by))


def _unknown(side: Any) -> Any:
    array = np.asarray(side)
    return np.isnan(array) if array.dtype.kind == "f" else np.zeros(array.shape, dtype=bool)


def _value(node: ast.expr, values: Mapping[str, Any]) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name):
        found = values.get(node.id, np.nan)
        if found is None or isinstance(found, str | bool | int | float):
            return found
        array = np.asarray(found)
        return array.astype(np.float64) if array.dtype.kind in "iub" else array
    if isinstance(node, ast.UnaryOp):
        return getattr(np, _SIGNS[type(node.op)])(_number(_value(node.operand, values)))
    if isinstance(node, ast.BinOp):
        left, right = _number(_value(node.left, values)), _number(_value(node.right, values))
        return getattr(np, _OPERATORS[type(node.op)])(left, right)
    assert isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    return getattr(np, _FUNCTIONS[node.func.id][1])(*(_number(_value(argument, values)) for argument in node.args))


def _number(value: Any) -> Any:
    if value is None:
        return np.nan
    array = np.asarray(value)
    if array.dtype.kind == "O":
        return np.array([np.nan if item is None or isinstance(item, str) else float(item) for item in array.tolist()])
    # A text among numbers is a value that is not there, not a crash in the middle of a session.
    return array.astype(np.float64) if array.dtype.kind in "iufb" else np.nan
