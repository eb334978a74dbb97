"""What is imported from the folders of objectives: the bytes that were hashed, whatever else lies there and was there before."""

from __future__ import annotations

import importlib
import os
import py_compile
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from arbd.errors import ObjectiveError
from arbd.job.code import digest_of
from arbd.job.modules import locate
from arbd.job.spec import JobSpec, ObjectiveSpec
from arbd.objective.load import load_evaluator
from arbd.objective.modules import ObjectiveModules, RefusedImportError, StaleProcessError
from arbd.results.columns import code_runs, expand_code
from tests.objective.test_objectives import SPEC, TRIAL

V1, V2 = "def f(params): return {'value': 1.0}\n", "def f(params): return {'value': 2.0}\n"


@pytest.fixture
def modules(tmp_path: Path) -> Iterator[ObjectiveModules]:
    """The finder of this process, which forgets what a test had loaded."""
    found = ObjectiveModules.of_this_process()
    before = (found.folders, dict(found.loaded), sys.path[:])
    found.look_in([tmp_path])
    yield found
    for name in found.loaded.keys() - before[1].keys():
        sys.modules.pop(name, None)
    found.folders, found.loaded, sys.path[:] = before
    found.refusal, found.expected = "", {}


def spec_of(target: str, **digests: str) -> JobSpec:
    return replace(SPEC, objective=ObjectiveSpec("python", (target,)), digests=digests)


def value_of(target: str, folder: Path) -> float:
    return load_evaluator(spec_of(target), "s", None, [folder]).evaluate({"x": 0.5}, TRIAL).metrics["value"]


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def bytecode_alone(path: Path) -> None:
    py_compile.compile(str(write(path.with_suffix(".src"), V1)), cfile=str(path), doraise=True)


# Which of several files of one name an import runs: what stands first here, `None` where it is a package without a file.
LAYOUTS: dict[str, tuple[dict[str, str], str]] = {
    "module": ({"{m}.py": V1}, "{m}.py"),
    "package": ({"{m}/__init__.py": V1}, "{m}/__init__.py"),
    "a package goes before a module": ({"{m}.py": V2, "{m}/__init__.py": V1}, "{m}/__init__.py"),
    "a module goes before a folder": ({"{m}.py": V1, "{m}/other.py": V2}, "{m}.py"),
}


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_the_file_that_is_digested_is_the_one_that_runs(layout: str, tmp_path: Path, modules: ObjectiveModules) -> None:
    name = f"laid_out_{abs(hash(layout))}"
    files, runs = LAYOUTS[layout]
    for path, text in files.items():
        write(tmp_path / path.format(m=name), text)
    assert value_of(f"{name}:f", tmp_path) == 1.0
    assert locate(name, [tmp_path]) == {name: tmp_path / runs.format(m=name)}
    assert modules.loaded[name].file == tmp_path / runs.format(m=name)


def test_packages_without_init_relative_imports_and_late_ones_are_all_known(
    tmp_path: Path, modules: ObjectiveModules
) -> None:
    other = tmp_path / "other"
    write(tmp_path / "spaced/deep/own.py", "from . import near\nfrom spaced import far\ndef f(params):\n    from .. import late\n    return {'value': near.V + far.V + late.V}\n")  # fmt: skip
    write(tmp_path / "spaced/deep/near.py", "V = 1.0\n")
    write(tmp_path / "spaced/late.py", "V = 10.0\n")
    write(other / "spaced/far.py", "V = 100.0\n")
    evaluator = load_evaluator(spec_of("spaced.deep.own:f"), "s", None, [tmp_path, other])
    assert set(modules.loaded) >= {"spaced.deep.own", "spaced.deep.near", "spaced.far"}
    assert "spaced.late" not in modules.loaded
    assert evaluator.evaluate({"x": 0.5}, TRIAL).metrics == {"value": 111.0}
    assert "spaced.late" in modules.loaded
    for name in ("spaced", "spaced.deep"):
        sys.modules.pop(name, None)


def test_no_bytecode_is_written_and_a_stale_one_is_not_read(tmp_path: Path, modules: ObjectiveModules) -> None:
    path = write(tmp_path / "cached_once.py", V1)
    py_compile.compile(str(path))
    before = path.stat()
    write(path, V2)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert value_of("cached_once:f", tmp_path) == 2.0
    write(tmp_path / "never_cached.py", V1)
    assert value_of("never_cached:f", tmp_path) == 1.0
    assert not list((tmp_path / "__pycache__").glob("never_cached*"))


def test_a_module_of_bytecode_alone_is_digested_as_it_is(tmp_path: Path, modules: ObjectiveModules) -> None:
    bytecode_alone(tmp_path / "compiled_alone.pyc")
    assert value_of("compiled_alone:f", tmp_path) == 1.0
    assert modules.loaded["compiled_alone"].file == tmp_path / "compiled_alone.pyc"


def test_a_linked_module_is_what_it_leads_to_now(tmp_path: Path, modules: ObjectiveModules) -> None:
    first, second = write(tmp_path / "v1.txt", V1), write(tmp_path / "v2.txt", V2)
    link = tmp_path / "linked_module.py"
    link.symlink_to(first)
    evaluator = load_evaluator(spec_of("linked_module:f"), "s", None, [tmp_path])
    link.unlink()
    link.symlink_to(second)
    assert evaluator.evaluate({"x": 0.5}, TRIAL).metrics == {"value": 1.0}
    with pytest.raises(StaleProcessError, match="before that was changed"):
        load_evaluator(spec_of("linked_module:f"), "s", None, [tmp_path])


def test_a_module_that_was_changed_is_not_loaded_again_in_the_same_process(
    tmp_path: Path, modules: ObjectiveModules
) -> None:
    write(tmp_path / "reloaded.py", V1)
    assert value_of("reloaded:f", tmp_path) == 1.0
    importlib.reload(sys.modules["reloaded"])
    write(tmp_path / "reloaded.py", V2)
    with pytest.raises(RefusedImportError, match="was changed while this process ran"):
        importlib.reload(sys.modules["reloaded"])
    assert modules.refusal
    with pytest.raises(StaleProcessError):
        modules.require_current({})


def test_what_is_refused_is_known_although_the_objective_goes_on_without_it(
    tmp_path: Path, modules: ObjectiveModules
) -> None:
    write(tmp_path / "shy.py", "try:\n    import missed\nexcept ImportError:\n    missed = None\ndef f(params): return {'value': 1.0}\n")  # fmt: skip
    write(tmp_path / "missed.py", "V = 1\n")
    with pytest.raises(ObjectiveError, match="missed.py on this host is not the file"):
        load_evaluator(spec_of("shy:f", **{"python:missed": "0" * 64}), "s", None, [tmp_path])


@pytest.mark.parametrize("opened", ["pkg/__init__.py", "pkg/helper.py", "pkg/own.py", "pkg", ".."])
def test_code_that_every_user_could_write_is_not_run_wherever_on_the_way_that_is(
    opened: str, tmp_path: Path, modules: ObjectiveModules
) -> None:
    folder = tmp_path / "above" / "objectives"
    package = f"pkg{abs(hash(opened))}"
    ran = tmp_path / "ran"
    mark = f"import pathlib\npathlib.Path({str(ran)!r}).touch()\n"
    for name, text in (("__init__", ""), ("helper", ""), ("own", f"from . import helper\n{V1}")):
        write(folder / package / f"{name}.py", (mark if opened == f"pkg/{name}.py" else "") + text)
    (folder / opened.replace("pkg", package)).chmod(0o777)
    with pytest.raises(ObjectiveError, match="can be written by every user of this host"):
        load_evaluator(spec_of(f"{package}.own:f"), "s", None, [folder])
    assert not ran.exists()


CALLABLES: dict[str, tuple[str, bool]] = {
    "imported function": ("from os.path import join as f", False),
    "imported class": ("from subprocess import Popen as f", False),
    "object of an imported class": ("import functools\nf = functools.cache(len)", False),
    "imported function with one argument given": (
        "import functools, os\nf = functools.partial(os.path.join, 'a')",
        False,
    ),
    "own function": ("def f(params): return {'value': 1.0}", True),
    "own function with one argument given": (
        "import functools\ndef g(more, params): return {'value': 1.0}\nf = functools.partial(g, 1)",
        True,
    ),
    "own function that is wrapped": (
        "import functools\ndef g(params): return {'value': 1.0}\nf = functools.lru_cache(g)",
        True,
    ),
    "method of an own class": (
        "class C:\n    def g(self, params): return {'value': 1.0}\nf = C().g",
        True,
    ),
    "object of an own class": (
        "class C:\n    def __call__(self, params): return {'value': 1.0}\nf = C()",
        True,
    ),
}


@pytest.mark.parametrize("kind", sorted(CALLABLES))
def test_only_what_a_module_itself_defines_is_its_objective(
    kind: str, tmp_path: Path, modules: ObjectiveModules
) -> None:
    text, own = CALLABLES[kind]
    name = f"named_{abs(hash(kind))}"
    write(tmp_path / f"{name}.py", text + "\n")

    def load() -> object:
        return load_evaluator(spec_of(f"{name}:f"), "s", None, [tmp_path])

    if own:
        load()
    else:
        with pytest.raises(ObjectiveError, match="only what a module itself defines"):
            load()


def test_the_digest_of_code_depends_on_every_part_and_on_no_order() -> None:
    parts = {"arbd": "a", "python:m": "b"}
    assert digest_of(parts) == digest_of(dict(reversed(parts.items())))
    others: list[Callable[[], dict[str, str]]] = [
        lambda: {**parts, "arbd": "b"},
        lambda: {**parts, "python:n": "b"},
        lambda: {"arbd": "a"},
    ]
    assert len({digest_of(parts), *(digest_of(other()) for other in others)}) == 4


@pytest.mark.parametrize("codes", [[], ["a" * 16], ["a" * 16] * 3 + [""] + ["b" * 16] * 2])
def test_which_code_made_which_rows_is_kept_in_runs(codes: list[str]) -> None:
    column = np.array([code.encode() for code in codes], dtype="|S16")
    assert expand_code(code_runs(column)).tolist() == column.tolist()
    assert len(code_runs(column)) <= 3
