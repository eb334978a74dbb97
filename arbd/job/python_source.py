"""What the source of a Python objective says of it without being run.

Owns the check of a job's `objective: {python: "module:function"}` before any worker imports the module: a function that
is not there, or that cannot be called as asked, is told to whoever submits.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from arbd.errors import DataError
from arbd.named_file import open_named

MAX_SOURCE_BYTES = 1 << 20
# What of a job only a trial tells an objective.
PRUNE, OVER_MARKETS = "prune", "robust over markets"
_Function = ast.FunctionDef | ast.AsyncFunctionDef
_Import = ast.Import | ast.ImportFrom


def no_trial(needs: str) -> str:
    """What is wrong with a function that takes no trial where the job's `prune`, or a robust metric over markets, needs one."""
    use = "call trial.report" if needs == PRUNE else "read trial.data, the market to use"
    return f"takes no trial, which `{needs}` needs: give it a second parameter `trial` and {use}"


def fault_of(
    source: Path,
    function: str,
    *,
    needs_budget: str,
    needs_window: bool = False,
    needs_trial: str = "",
    foreign: bool = False,
) -> str | None:
    """Why `function` of a module cannot be the objective; None when it may be, or only running it would tell.

    `needs_budget` names the method that gives it a budget; '' where none does. `needs_window`: it is told which part of
    the data it may use. `needs_trial`: what of the job only a trial tells it. `foreign`: another Python runs it, whose
    grammar may be another.
    """
    try:
        with open_named(source, MAX_SOURCE_BYTES) as file:
            tree = ast.parse(file.read(MAX_SOURCE_BYTES))
    except SyntaxError as error:
        place = f"{source}, line {error.lineno}" if error.lineno else str(source)
        return None if foreign else f"{place}: is not Python: {error.msg}"
    except (DataError, ValueError, RecursionError, MemoryError):
        return None
    bound = dict(_bound(tree.body))
    if "*" in bound or "__getattr__" in bound:
        return None
    if function not in bound:
        functions = ", ".join(name for name, node in bound.items() if isinstance(node, _Function)) or "none"
        return f"{source} has no function {function!r}; its functions are {functions}"
    node = bound[function]
    if all(isinstance(found, _Import) for name, found in _bound(tree.body) if name == function):
        return (
            f"{source}, line {getattr(node, 'lineno', 0)}: {function!r} is imported there, and only what a module itself "
            f"defines can be its objective: name the module that defines it, or define a function that calls it"
        )
    if not isinstance(node, _Function) or node.decorator_list or node.args.vararg:
        return None
    return _fault_of_parameters(
        source, node, needs_budget=needs_budget, needs_window=needs_window, needs_trial=needs_trial
    )


def _fault_of_parameters(
    source: Path, node: _Function, *, needs_budget: str, needs_window: bool, needs_trial: str
) -> str | None:
    place = f"{source}, line {node.lineno}: {node.name}"
    arguments = [*node.args.posonlyargs, *node.args.args]
    without_default = {argument.arg for argument in arguments[: len(arguments) - len(node.args.defaults)]}
    others = ("budget", "window")
    # The first gets the parameters, whatever it is called.
    positional = [argument.arg for at, argument in enumerate(arguments) if at == 0 or argument.arg not in others]
    needed = [name for name in positional if name in without_default]
    if isinstance(node, ast.AsyncFunctionDef):
        return f"{place} is a coroutine: an objective is a plain function"
    if not positional or len(needed) > 2:
        return f"{place} takes {len(needed)} parameters; expected (params) or (params, trial)"
    names = {argument.arg for argument in (*arguments[1:], *node.args.kwonlyargs)}
    takes_trial = len(needed) == 2 or "trial" in names
    takes_budget = "budget" in names
    if needs_window and not (takes_trial or "window" in names):
        return (
            f"{place} takes no window, which the job's validation needs: give it a parameter `window` (from_ns, to_ns: use "
            "only data in it), or `trial` and read trial.window"
        )
    if needs_trial and not takes_trial:
        return f"{place} {no_trial(needs_trial)}"
    if needs_budget and not (takes_trial or takes_budget):
        return (
            f"{place} takes no budget, which {needs_budget} needs: give it a parameter `budget` (the share to use, "
            "up to 1), or `trial` and read trial.budget"
        )
    return None


def _bound(body: list[ast.stmt]) -> Iterator[tuple[str, ast.AST]]:
    """Names that a module binds at its top, also within `if`, `try`, `with` and loops."""
    for statement in body:
        if isinstance(statement, _Function | ast.ClassDef):
            yield statement.name, statement
        elif isinstance(statement, ast.Import | ast.ImportFrom):
            for alias in statement.names:
                yield alias.asname or alias.name.partition(".")[0], statement
        else:
            for node in ast.walk(statement):
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                    yield node.id, statement
                elif isinstance(node, ast.Import | ast.ImportFrom):
                    for alias in node.names:
                        yield alias.asname or alias.name.partition(".")[0], node
                elif isinstance(node, _Function | ast.ClassDef):
                    yield node.name, node
