"""Parts declare themselves: no other code knows their names, listing them is cheap, and what is wrong with one is said."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from arbd.analysis.formats import FORMATS as EXPORT_FORMATS
from arbd.daemon.executors import EXECUTORS
from arbd.errors import PluginError, UsageError
from arbd.paper.market.importers.formats import FORMATS as MARKET_FORMATS
from arbd.paper.market.importers.funding_formats import FUNDING_FORMATS
from arbd.paper.strategies import STRATEGIES, by_code
from arbd.registry import Registry
from arbd.search.samplers import METHODS
from tests.conftest import REPOSITORY

REGISTRIES: tuple[Registry[Any], ...] = (METHODS, MARKET_FORMATS, EXPORT_FORMATS, STRATEGIES)
# Strings that are equal to a name and mean something else, or name a part for a person. By file and string.
MEANS_SOMETHING_ELSE = {
    ("arbd/paper/kernel/state.py", "grid"): "a field of a run: where its equity grid lies",
    ("arbd/paper/market/readers.py", "quotes"): "what a message calls the content of a file",
    ("arbd/paper/market/writers.py", "quotes"): "a table of DuckDB",
    ("arbd/objective/markets.py", "quotes"): "what a file is that a job names",
    ("arbd/job/resolve.py", "quotes"): "what a file is that a job names",
    ("arbd/paper/market/column_names.py", "quotes"): "the format that a command in a message names",
    ("arbd/paper/market/column_names.py", "ccxt-ohlcv"): "the format that a command in a message names",
    ("arbd/paper/market/days.py", "quotes"): "what a message calls the content of a file",
    ("arbd/analysis/run_series.py", "quotes"): "how many there are, in the document of a page",
    ("arbd/cli/commands/run.py", "csv"): "`--output-csv` is an export in that format",
    ("arbd/daemon/side/csv_keeper.py", "csv"): "the name of a thread",
    ("arbd/job/spec.py", "csv"): "the option `results.csv` of a job",
    ("arbd/job/model.py", "convergence"): "an example in the schema",
    ("arbd/job/model.py", "inventory"): "an example in the schema",
}


def strings(path: Path) -> set[str]:
    return {
        node.value
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def test_the_name_of_a_part_stands_in_no_code_but_its_own() -> None:
    names = {
        (name, REPOSITORY / registry.package.replace(".", "/") / f"{name.replace('-', '_')}.py")
        for registry in REGISTRIES
        for name in registry.built_in()
    }
    assert len(names) >= 20
    found = set()
    for path in sorted((REPOSITORY / "arbd").rglob("*.py")):
        here = strings(path)
        found |= {(str(path.relative_to(REPOSITORY)), name) for name, own in names if name in here and own != path}
    assert found == set(MEANS_SOMETHING_ELSE)


EVERY = (*REGISTRIES, FUNDING_FORMATS, EXECUTORS)


@pytest.mark.parametrize("registry", EVERY, ids=lambda registry: registry.package)
def test_every_part_of_arbd_loads_and_is_of_the_kind_that_others_must_be_of(registry: Registry[Any]) -> None:
    for name in registry.built_in():
        assert isinstance(registry.get(name), registry.kinds())
        assert registry.plugin(name) is None


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda registry: registry.package)
def test_every_part_of_arbd_says_what_it_is(registry: Registry[Any]) -> None:
    for name in registry.built_in():
        assert registry.get(name).summary


def test_strategies_have_the_codes_that_the_compiled_engine_knows() -> None:
    assert [strategy.code for strategy in by_code().values()] == [0, 1]


LISTED = """
import sys
{what}
print(*sorted({heavy} & set(sys.modules)))
"""


@pytest.mark.parametrize(
    ("what", "heavy"),
    [
        ("from arbd.search.samplers import METHODS; METHODS.names()", {"numpy", "scipy", "cmaes"}),
        ("from arbd.analysis.formats import FORMATS; FORMATS.names()", {"numpy", "duckdb", "optuna"}),
        (
            "from arbd.search.samplers import METHODS\nfor name in METHODS.built_in(): METHODS.get(name)",
            {"scipy", "cmaes"},
        ),
        (
            "from arbd.analysis.formats import FORMATS\nfor name in FORMATS.built_in(): FORMATS.get(name)",
            {"duckdb", "optuna", "pandas"},
        ),
    ],
)
def test_listing_imports_nothing_heavy_and_a_declaration_no_library(what: str, heavy: set[str]) -> None:
    code = LISTED.format(what=what, heavy=heavy)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert done.stdout.strip() == ""


def offer(folder: Path, package: str, entries: str, source: str = "") -> None:
    """A distribution as pip leaves it: a module, and metadata with entry points."""
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[arbd.samplers]\n{entries}\n")
    (folder / f"{package}.py").write_text(source)


WORKS = """
from arbd.plugins.sampler import PlanMethod
METHOD = PlanMethod(summary="nothing", make=lambda request: None)
OTHER = 5
"""


@pytest.mark.parametrize(
    ("package", "entry", "source", "reason"),
    [
        (
            "fault_a",
            "odd = fault_a:METHOD",
            "import nowhere_at_all",
            "ModuleNotFoundError: No module named 'nowhere_at",
        ),
        ("fault_b", "odd = fault_b:METHOD", "raise RuntimeError('broken')", "RuntimeError: broken; install what it"),
        ("fault_c", "odd = fault_c:MISSING", WORKS, "AttributeError: module 'fault_c' has no attribute 'MISSING'"),
        ("fault_d", "odd = fault_d:OTHER", WORKS, "fault_d:OTHER is no AdaptiveMethod or PlanMethod, but a int"),
        ("fault_e", "odd = fault_e", WORKS, "fault_e is no AdaptiveMethod or PlanMethod, but a module"),
    ],
)
def test_a_plugin_that_cannot_be_used_is_named_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, entry: str, source: str, reason: str
) -> None:
    offer(tmp_path, package, entry, source)
    monkeypatch.syspath_prepend(tmp_path)
    assert METHODS.names()[-1] == "odd"
    with pytest.raises(PluginError) as told:
        METHODS.get("odd")
    assert reason in str(told.value)
    assert str(told.value).startswith(f"the method 'odd' of {package} 1.0")


@pytest.mark.parametrize("entry", ["grid = rival_{}:METHOD", "mine = rival_{}:METHOD"])
def test_no_two_parts_have_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: str) -> None:
    for one in ("one", "two"):
        offer(tmp_path / one, f"rival_{one}", entry.format(one), WORKS)
        monkeypatch.syspath_prepend(tmp_path / one)
    with pytest.raises(PluginError, match=r"offers a method '(grid|mine)', and .*: uninstall one of them"):
        METHODS.names()
    # What arbd has of its own goes on working, whatever is installed beside it.
    assert METHODS.get("grid").summary


def test_a_plugin_changes_its_fingerprint_with_its_code_though_not_with_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(tmp_path, "printed", "printed = printed:METHOD", WORKS)
    monkeypatch.syspath_prepend(tmp_path)
    plugin = METHODS.plugin("printed")
    assert plugin is not None
    before = plugin.fingerprint()
    assert before.startswith("1.0 sha256:")
    assert plugin.fingerprint() == before
    (tmp_path / "printed.py").write_text(WORKS + "# changed\n")
    assert plugin.fingerprint() != before


@pytest.mark.parametrize(
    ("registry", "given", "meant"),
    [(METHODS, "tpee", "tpe"), (MARKET_FORMATS, "tardis", "tardis-quotes"), (EXPORT_FORMATS, "parkett", "parquet")],
)
def test_a_name_that_is_none_is_answered_with_the_nearest(registry: Registry[Any], given: str, meant: str) -> None:
    with pytest.raises(UsageError, match=f"unknown {registry.noun} '{given}'; did you mean '{meant}'\\? available are"):
        registry.get(given)
