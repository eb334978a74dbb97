"""A function of this process as an objective: put into a module of its own, from which slots load it."""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from arbd.api.arguments import shown
from arbd.api.job import Job
from arbd.atomic_file import whole_file
from arbd.errors import UsageError
from arbd.installed import is_library
from arbd.objective.signature import NAMES, WINDOW, Call, call_of
from arbd.private_folder import OWN, private_folder

MODULE = """\"\"\"The objective of session {name}, a function of a notebook or script as it was when the session began.\"\"\"
import base64
import sys

import cloudpickle

# Behind those of this process: modules of the caller's that the function uses.
sys.path += [folder for folder in {folders} if folder not in sys.path]
SOURCE = "{source}"
_function = cloudpickle.loads(base64.b64decode("{pickled}"))


def objective({parameters}):
    return _function({arguments})
"""


def function_job(job: Job, name: str, folder: Path) -> Path:
    """The file of a job whose objective is the module of its function, both in a folder of the session's own.

    UsageError where the session was begun with another function, or the function cannot be carried to other processes.
    """
    from arbd import strict_yaml

    assert job.function is not None
    own = private_folder(folder / name, OWN)
    module, digest = own / f"arbd_function_{hashlib.sha256(name.encode()).hexdigest()[:12]}.py", _digest(job.function)
    call = _call_of(job.function)
    if not module.exists():
        text = MODULE.format(
            name=name,
            folders=_folders(),
            source=digest,
            pickled=_pickled(job.function),
            parameters=", ".join(["params", *(name for name in NAMES if name in call.takes)]),
            arguments=_handed_on(call),
        )
        with whole_file(module) as new:
            new.write_text(text, encoding="utf-8")
    elif f'SOURCE = "{digest}"' not in module.read_text(encoding="utf-8"):
        raise UsageError(f"session {name} was begun with another function: choose another session_id")
    fields = {**job.fields, "objective": {"python": f"{module.stem}:objective"}, "session_id": name}
    path = own / "job.yaml"
    with whole_file(path) as new:
        new.write_text(strict_yaml.dump(fields), encoding="utf-8")
    return path


def _digest(function: Callable[..., Any]) -> str:
    """Of its source, where that is known: the same function has it in another process too."""
    try:
        text = inspect.getsource(function)
    except (OSError, TypeError):
        text = _pickled(function)
    return hashlib.sha256(text.encode()).hexdigest()


def _pickled(function: Callable[..., Any]) -> str:
    try:
        import cloudpickle
    except ImportError as error:
        raise UsageError(
            "a function as objective needs cloudpickle (pip install 'arbd[notebook]'), or name it as "
            "objective={'python': 'module:function'}"
        ) from error
    module = sys.modules.get(_home(function))
    # Slots need not be able to import where it stands; what is installed they can.
    by_value = (
        module is not None and module.__name__ != "__main__" and not is_library(getattr(module, "__file__", None))
    )
    try:
        if by_value:
            cloudpickle.register_pickle_by_value(module)
        return base64.b64encode(cloudpickle.dumps(function)).decode()
    except Exception as error:
        raise UsageError(
            f"the function {shown(function)} cannot be carried to other processes: {error}; make what cannot be carried "
            "inside of the function (locks, open files, connections), or put the function into a module and name it as "
            "objective={'python': 'module:function'}"
        ) from error
    finally:
        if by_value:
            cloudpickle.unregister_pickle_by_value(module)


def _home(function: Callable[..., Any]) -> str:
    """The module whose code a callable is: of what a partial or a method calls, of the class of an object."""
    inner: Any = function
    while isinstance(inner, functools.partial) or inspect.ismethod(inner):
        inner = inner.func if isinstance(inner, functools.partial) else inner.__func__
    return str(getattr(inner, "__module__", None) or type(inner).__module__)


def _folders() -> list[str]:
    """From where this process imports what is not installed."""
    absolute = [str(Path(entry or ".").absolute()) for entry in sys.path]
    return [entry for entry in dict.fromkeys(absolute) if Path(entry).is_dir() and not is_library(entry)]


def _call_of(function: Callable[..., Any]) -> Call:
    """How a function is called; UsageError where it cannot be."""
    try:
        call = call_of(function)
        _, named = call.arguments(dict.fromkeys(NAMES))
        with contextlib.suppress(ValueError):
            inspect.signature(function).bind("params", *call.by_place, **named)
    except TypeError as error:
        raise UsageError(
            f"the function {shown(function)} cannot be an objective ({error}): it must accept a mapping of parameters as its "
            "first argument, and may also take `trial`, `budget` and `window`"
        ) from None
    return call


def _handed_on(call: Call) -> str:
    """The arguments of the function, where those of the module's own are called as what they are."""
    keeps = "**({} if window is None else {'window': window})"
    named = (keeps if what == WINDOW and call.keeps_window else f"{name}={what}" for name, what in call.by_name)
    return ", ".join(["params", *call.by_place, *named])
