"""What an exception of a person's code says, with the place that it came from: `ValueError: no quotes (edge.py:12)`.

The standard library alone, in any Python from 3.8: an objective's own interpreter runs it too, beside `foreign`.
"""

from __future__ import annotations

import errno
import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_ERROR_CHARS = 4_000
# What cloudpickle says instead of the file of a function that it carried; lines are those of its script or cell.
CARRIED = "<dynamic-code>"
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN})
# arbd itself, and what imports for it.
_PASSED_OVER = (Path(__file__).resolve().parents[1], Path(importlib.__file__).resolve().parent)


def place_of(error: BaseException, folders: Sequence[str | Path]) -> str:
    """`file.py:12`, the innermost line of the person's own code, or '' when none of it ran; of a notebook, `line 3 of f`.

    That is code in `folders`, those of objectives; where none of it ran, whatever was called first that is not arbd's. The
    file is told as seen from its folder, so that all hosts tell the same.
    """
    if isinstance(error, SyntaxError) and error.filename and error.lineno and not error.filename.startswith("<"):
        return f"{_shown(error.filename, folders)}:{error.lineno}"
    ours, others, first_called = "", "", ""
    step = error.__traceback__
    while step is not None:
        code, line = step.tb_frame.f_code, step.tb_lineno
        file, name = code.co_filename, code.co_name
        step = step.tb_next
        if file == CARRIED:
            ours = f"line {line} of {name}"
        elif _is_in(file, folders):
            ours = f"{_shown(file, folders)}:{line}"
        elif not (file.startswith("<") or _is_in(file, _PASSED_OVER)):
            first_called = first_called or file
            if file == first_called:
                others = f"{_shown(file, [entry for entry in sys.path if entry])}:{line}"
    return ours or others


def describe(error: BaseException, folders: Sequence[str | Path] = (), *, named: bool = True) -> str:
    """An exception in words, `named` by its class; those of a user's own class may raise when they are asked."""
    kind, place = type(error).__name__, place_of(error, folders)
    try:
        is_syntax = isinstance(error, SyntaxError) and bool(place)
        said = str(error.msg if is_syntax else error)  # type: ignore[attr-defined]
    except BaseException as another:
        named, said = True, f"whose text cannot be shown: {type(another).__name__}"
        kind, said = f"{kind} ({said})", ""
    text = (f"{kind}: {said}" if said else kind) if named else said
    at = f" ({place})" if place else ""
    # Behind the first line, which is what most who show errors have room for.
    first, newline, rest = text[: MAX_ERROR_CHARS - len(at)].partition("\n")
    # A lone half of a character cannot be written; whatever else the text holds is shown safely by who shows it.
    return f"{first}{at}{newline}{rest}".encode(errors="backslashreplace").decode()


def _is_in(file: str, folders: Sequence[str | Path]) -> bool:
    return any(Path(folder) in Path(file).parents for folder in folders)


def _shown(file: str, folders: Sequence[str | Path]) -> str:
    path = Path(file)
    inside = [str(path.relative_to(folder)) for folder in folders if Path(folder) in path.parents]
    return min(inside, key=len, default=file)


def is_exhaustion(error: BaseException | None) -> bool:
    """True when a process ran out of something, be it by what its earlier iterations kept: memory, files, threads."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _EXHAUSTED):
            return True
        if isinstance(error, RuntimeError) and error.args and error.args[0] == "can't start new thread":
            return True
        error = error.__cause__ or error.__context__
    return False
