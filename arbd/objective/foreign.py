"""Runs a Python objective in an interpreter of its own: `python -I foreign.py`, questions and answers as JSON lines.

It is run by other interpreters, from Python 3.8 on, and imports nothing but their standard library: nothing of arbd but
`foreign_cell.py`, `interpreter_state.py`, `signature.py` and `error_place.py` beside it, and no package of a plain name. The first line
that it reads says which function, and from which folders.
"""

from __future__ import annotations

import decimal
import hashlib
import importlib
import importlib.machinery
import importlib.util
import json
import numbers
import os
import platform
import random
import stat
import sys
import threading
import traceback
from collections import namedtuple
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import CodeType
from typing import TYPE_CHECKING, Any, Callable, Dict, Sequence  # noqa: UP035 - an older Python runs it

if TYPE_CHECKING:
    from arbd.objective.foreign_cell import Cell
    from arbd.objective.signature import Call

# Tells an intermediate value; True when the iteration is to end.
Exchange = Callable[[Dict[str, Any]], bool]  # noqa: UP006 - as above
MAX_ERROR_CHARS = 4000
Window = namedtuple("Window", ["from_ns", "to_ns"])


class TrialPruned(Exception):  # noqa: N818 - no error, and the name that the field knows
    """The iteration is to end: `trial.report` raises it."""


class Trial:
    """What an objective with a second parameter gets; see docs/objectives.md."""

    def __init__(self, question: dict[str, Any], session_id: str, exchange: Exchange) -> None:
        self.iteration = question["iteration"]
        self.seed = question["seed"]
        self.session_id = session_id
        self.data = tuple(question.get("data", ()))
        self.budget = question.get("budget", 1.0)
        self.window = Window(*question["window"]) if "window" in question else None
        self.pruned = False
        self._id = question["id"]
        self._exchange = exchange
        self._lock = threading.Lock()

    def report(self, step: int, value: float) -> None:
        """Keep an intermediate value; it is stored with the iteration's results.

        TrialPruned when the job's `prune` says that the iteration is to end: let it pass.
        """
        with self._lock:
            self.pruned = self.pruned or self._exchange({"id": self._id, "step": float(step), "value": float(value)})
        if self.pruned:
            raise TrialPruned("the job's `prune` ends this iteration")

    def should_prune(self) -> bool:
        """True when the iteration is to end, for who caught what `report` raised."""
        return self.pruned


class Modules:
    """Finds modules in the folders of objectives, and keeps the digest of what ran.

    `expected` are digests that are not to be departed from. As in the daemon's own processes, bytes that are compiled are
    bytes that were hashed, and no bytecode cache is read or written.
    """

    def __init__(self, folders: Sequence[str], expected: dict[str, str]) -> None:
        self.folders = [str(Path(folder).resolve()) for folder in folders]
        self.expected = expected
        self.loaded: dict[str, str] = {}
        self.refusal = ""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: Any = None) -> ModuleSpec | None:
        """See `importlib.abc.MetaPathFinder`."""
        spec = importlib.machinery.PathFinder.find_spec(name, self.folders if path is None else path)
        if spec is None or not spec.origin or spec.loader is None or not self._is_ours(spec.origin):
            return spec if spec is not None and spec.loader is None else None
        if isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = _SourceLoader(name, spec.origin, self)
        else:
            self.admit(name, spec.origin, Path(spec.origin).read_bytes())
        spec.cached = None
        return spec

    def _is_ours(self, path: str) -> bool:
        return any(folder in Path(path).parents for folder in map(Path, self.folders))

    def admit(self, name: str, path: str, data: bytes) -> None:
        """Note that a module is about to run; ImportError when it may not."""
        digest = hashlib.sha256(data).hexdigest()
        real = str(Path(path).resolve())
        reason = ""
        if not self._is_ours(real):
            reason = f"{path} is a link that leads out of `objective_paths`"
        elif _is_anybodys(real):
            reason = f"{real}, or a folder on the way to it, can be written by every user of this host: chmod o-w"
        elif self.expected.get(name, digest) != digest:
            reason = (
                f"{path} on this host is not the file that the job was accepted with or its session began with "
                f"(module {name}, SHA-256 {digest[:12]}, expected {self.expected[name][:12]})"
            )
        elif name in self.loaded and self.loaded[name] != digest:
            reason = f"{path} was changed while this process ran, and loaded again (module {name})"
        if reason:
            self.refusal = self.refusal or reason
            raise ImportError(reason, name=name)
        self.loaded[name] = digest


class _SourceLoader(importlib.machinery.SourceFileLoader):
    """Compiles the bytes that it hashed."""

    def __init__(self, name: str, path: str, modules: Modules) -> None:
        super().__init__(name, path)
        self._modules = modules

    def get_code(self, fullname: str) -> CodeType | None:
        data = self.get_data(self.path)
        self._modules.admit(fullname, self.path, data)
        code: CodeType = self.source_to_code(data, self.path)
        return code


def _is_anybodys(path: str) -> bool:
    modes = [each.stat().st_mode for each in (Path(path), *Path(path).parents)]
    return any(mode & stat.S_IWOTH and not (stat.S_ISDIR(mode) and mode & stat.S_ISVTX) for mode in modes)


class Objective:
    """The function, and what it takes."""

    def __init__(self, target: str, modules: Modules) -> None:
        module_name, _, name = target.partition(":")
        module = importlib.import_module(module_name)
        if modules.refusal:
            raise ImportError(modules.refusal)
        function = getattr(module, name, None)
        if not callable(function):
            raise ImportError(f"module {module_name} has no function {name!r}")  # noqa: TRY004
        self.function = function
        try:
            self.call: Call = _beside("signature").call_of(function)
        except TypeError as error:
            raise ImportError(f"{target} {error}; expected (params) or (params, trial)") from None
        self.takes = self.call.takes - {"trial"}
        self.with_trial = "trial" in self.call.takes

    def __call__(self, question: dict[str, Any], trial: Trial) -> Any:
        """What the function returns."""
        values = {"trial": trial, "budget": trial.budget, "window": trial.window}
        more, named = self.call.arguments(values)
        return self.function(question["params"], *more, **named)


def _is_number(value: Any) -> bool:
    """Whether it is one number, a decimal one or an array without dimensions too."""
    if isinstance(value, (numbers.Real, decimal.Decimal)):
        return True
    kind = getattr(getattr(value, "dtype", None), "kind", "f")
    return getattr(value, "ndim", None) == 0 and hasattr(value, "__float__") and kind in "biuf"


def _plain(value: Any) -> float:
    """A number as JSON has it; anything else stays what it is, for the error that names it."""
    if _is_number(value) or type(value).__name__ in ("bool_", "bool"):
        try:
            return float(value)
        except (TypeError, ValueError):
            pass
    raise TypeError(f"the objective returned {_shown(value)} as a metric; expected a number")


def _shown(value: Any) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 80 else text[:77] + '...'}"


def _answer(objective: Objective, question: dict[str, Any], session_id: str, exchange: Exchange) -> Any:
    """Evaluate: what is said of it, or the error that it raised."""
    trial = Trial(question, session_id, exchange)
    random.seed(trial.seed)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(trial.seed & 0xFFFFFFFF)
    try:
        returned = objective(question, trial)
    except BaseException as error:  # also the ways out of a program: they are out of the iteration alone
        if any(kind.__name__ == "TrialPruned" for kind in type(error).__mro__):
            return {"pruned": str(error)[:MAX_ERROR_CHARS]}
        traceback.print_exc()
        return error
    answer: dict[str, Any] = {}
    if hasattr(returned, "metrics"):
        if getattr(returned, "blocks", None) is not None:
            answer["blocks"] = [[float(number) for number in row] for row in returned.blocks]
        returned = returned.metrics
    if _is_number(returned) and type(returned).__name__ not in ("bool_", "bool"):
        # Whether a number alone is enough is for who asked to say.
        returned, alone = {"": returned}, True
    else:
        alone = False
    if not hasattr(returned, "items"):
        text = f"the objective returned {_shown(returned)}; expected a number, or a mapping of metric names to numbers"
        return {"broken": text}
    try:
        found = {name: _plain(value) for name, value in returned.items()}
        answer["metrics"] = found[""] if alone else found
    except TypeError as error:
        return {"broken": str(error)}
    return answer


def _beside(name: str) -> Any:
    """A module beside this one."""
    spec = importlib.util.spec_from_file_location(f"arbd_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _load(question: dict[str, Any], describe: Callable[..., str]) -> tuple[Objective | None, Modules, dict[str, Any]]:
    """Load what the first line names: the objective, and the answer to that line."""
    modules = Modules(question["folders"], question["expected"])
    sys.meta_path.insert(0, modules)
    # For processes that an objective starts, and for data beside its modules.
    sys.path[:0] = question["folders"]
    answer = {"python": f"{platform.python_implementation()} {platform.python_version()}"}
    try:
        objective = Objective(question["target"], modules)
    except BaseException as error:  # a module that is a script may leave by any way
        traceback.print_exc()
        return None, modules, {"broken": describe(error, modules.folders)}
    for name in ("numpy", "pandas", "scipy"):
        version = getattr(sys.modules.get(name), "__version__", None)
        if isinstance(version, str):
            answer[name] = version[:100]
    return objective, modules, {"versions": answer, "takes": sorted(objective.takes), "trial": objective.with_trial}


def main() -> None:
    """Answer questions until there are no more."""
    own = os.getpid()
    sys.dont_write_bytecode = True
    cells, errors = _beside("foreign_cell"), _beside("error_place")
    cell: Cell | None = None
    # What an objective prints, and programs that it starts, must not stand among the answers.
    questions = os.fdopen(os.dup(0), "r", encoding="utf-8")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    objective: Objective | None = None
    modules = Modules((), {})
    session_id = ""

    def exchange(report: dict[str, Any]) -> bool:
        if os.getpid() != own:
            raise RuntimeError("trial.report is for the process that the objective was called in, not for its children")
        answers.write(json.dumps(report) + "\n")
        answers.flush()
        return bool(json.loads(questions.readline())["prune"])

    answer: Any
    for line in questions:
        question = json.loads(line)
        if "target" in question:
            session_id = question["session_id"]
            objective, modules, answer = _load(question, errors.describe)
            # What a module sets up when it is imported stays.
            cell = cells.Cell(_beside("interpreter_state").ASPECTS)
        elif objective is None:
            answer = {"broken": "no objective is loaded"}
        else:
            assert cell is not None
            cell.begin()
            answer = _answer(objective, question, session_id, exchange)
        if os.getpid() != own:
            # A child that the objective forked, and that left the function.
            os._exit(0)
        if cell is not None:
            found = cell.settle()
            if isinstance(answer, BaseException):
                told = errors.describe(answer, modules.folders)
                answer = {"error": told, "exhausted": errors.is_exhaustion(answer)}
            answer.update(found)
        answer["id"] = question["id"]
        answer["modules"] = modules.loaded
        answer["refusal"] = modules.refusal
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
