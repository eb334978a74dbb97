"""A function of this process as an objective: put into a module of its own, from which slots load it."""

from __future__ import annotations

import base64
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
    taken = _taken(job.function)
    if not module.exists():
        text = MODULE.format(
            name=name,
            folders=_folders(),
            source=digest,
            pickled=_pickled(job.function),
            parameters=", ".join(["params", *(name for name, _ in taken)]),
            arguments=", ".join(["params", *(f"{name}={name}" if named else name for name, named in taken)]),
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


def _taken(function: Callable[..., Any]) -> list[tuple[str, bool]]:
    """Which of `trial` and `budget` a function takes beside the parameters, and whether by its name.

    UsageError where it cannot be called so.
    """
    try:
        signature = inspect.signature(function)
    except ValueError:
        return []
    given = list(signature.parameters.values())
    named = {p.name for p in given if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    positional = [p for p in given if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and p.name != "budget"]
    second = positional[1] if len(positional) > 1 else None
    takes_trial = "trial" in named or (
        second is not None and (second.default is inspect.Parameter.empty or second.name == "trial")
    )
    taken = [("trial", "trial" in named)] if takes_trial else []
    taken += [("budget", True)] if "budget" in named else []
    try:
        signature.bind(
            "params",
            *(name for name, by_name in taken if not by_name),
            **{name: 1 for name, by_name in taken if by_name},
        )
    except TypeError as error:
        raise UsageError(
            f"the function {shown(function)} cannot be an objective: {error}; it is called with a mapping of parameters, and "
            "with `trial` and `budget` where it takes them"
        ) from None
    return taken
