"""The example of docs/plugins.md, installed as a user installs it and used through the commands."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from arbd.analysis.table import load_table
from arbd.job.file import load_job
from arbd.job.resolve import resolve_job
from arbd.job.stored import read_spec
from arbd.results.suggester import Suggester
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.sessions import create_session
from tests.conftest import REPOSITORY, Daemons, wait_until
from tests.jobs import SPACE

pytestmark = pytest.mark.bed

EXAMPLE = REPOSITORY / "docs" / "examples" / "arbd-plugin-example"


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pip put the example, beside the environment of the tests rather than into it."""
    target = tmp_path_factory.mktemp("plugins") / "site"
    source = shutil.copytree(EXAMPLE, target.parent / EXAMPLE.name)
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index",
         "--no-build-isolation", "--no-deps", "--target", target, source],
        check=True,
    )  # fmt: skip
    return target


@dataclass(frozen=True)
class Host:
    """A host with the plug-in, or without: arbctl in processes of its own."""

    spool: Path
    config: Path
    site: Path | None

    def __call__(self, *arguments: str | Path) -> tuple[int, str, str]:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        environment |= {"PYTHONPATH": str(self.site)} if self.site is not None else {}
        done = subprocess.run(
            [sys.executable, "-m", "arbd.cli.__main__", "--spool", self.spool, "--config", self.config, *arguments],
            capture_output=True, text=True, env=environment, timeout=240, cwd=REPOSITORY, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout, done.stderr


@pytest.fixture
def with_plugin(layout: SpoolLayout, objectives: Path, installed: Path) -> Host:
    return Host(layout.root, objectives.parent / "arbd.yaml", installed)


@pytest.fixture
def without(layout: SpoolLayout, objectives: Path) -> Host:
    return Host(layout.root, objectives.parent / "arbd.yaml", None)


@pytest.fixture
def on_path(monkeypatch: pytest.MonkeyPatch, installed: Path) -> Iterator[None]:
    monkeypatch.syspath_prepend(installed)
    yield
    forget()


def forget() -> None:
    """Import the plug-in anew when it is asked for again, as another process would."""
    for name in [name for name in sys.modules if name.startswith("arbd_plugin_example")]:
        del sys.modules[name]


def job(folder: Path, method: str, **tuning: Any) -> Path:
    path = folder / f"{method}.yaml"
    given = {"method": method, "search_space": SPACE, "max_iterations": 24, "seed": 3, **tuning}
    path.write_text(yaml.safe_dump({"objective": {"python": "samples:quick"}, "metric": "value", "tuning": given}))
    return path


def rows(layout: SpoolLayout, name: str) -> list[tuple[int, float, int]]:
    table = load_table(layout.root, name)
    return list(
        zip(
            table.rows.iteration.tolist(),
            table.rows.params["x"].tolist(),
            table.rows.params["k"].tolist(),
            strict=True,
        )
    )


def test_it_is_listed_with_where_it_comes_from_and_its_options(with_plugin: Host, without: Host) -> None:
    found = {m["name"]: m for m in json.loads(with_plugin("methods", "--json")[1])["methods"]}
    assert (found["annealing"]["package"], found["annealing"]["adaptive"]) == ("arbd-plugin-example", True)
    assert [option["name"] for option in found["annealing"]["options"]] == ["width", "cooling"]
    assert "stripes" in with_plugin("methods")[1]
    assert "annealing" not in without("methods")[1]
    method = json.loads(with_plugin("schema")[1])["$defs"]["Tuning"]["properties"]["method"]
    assert "annealing" in method["enum"]
    assert "touch-jsonl" in with_plugin("market", "import", "--help")[1]


def needs(module: str) -> Any:
    """A method whose library is not part of this environment is tried where that is installed."""
    missing = importlib.util.find_spec(module) is None
    return pytest.param(module, marks=pytest.mark.skipif(missing, reason=f"{module} is not installed"))


@pytest.mark.parametrize("method", ["annealing", "stripes", "optuna", needs("nevergrad")])
def test_a_session_is_the_same_with_one_slot_and_with_three_and_names_the_plugin_s_version(
    with_plugin: Host, layout: SpoolLayout, tmp_path: Path, method: str
) -> None:
    for name, slots in (("one", 1), ("three", 3)):
        code, _, err = with_plugin(
            "run", job(tmp_path, method), "--session-id", name, "--workers", str(slots), "--worker-id", name
        )
        assert code == 0, err
    assert rows(layout, "one") == rows(layout, "three")
    assert len(rows(layout, "one")) == 24
    versions = read_spec(Files(), layout.session("one")).sampler_versions
    assert versions["plug-in arbd-plugin-example"].startswith("0.1.0 sha256:")
    if method == "stripes":
        assert [x for _, x, _ in rows(layout, "one")] == pytest.approx([(i + 0.5) / 24 for i in range(24)])


@pytest.mark.skipif(importlib.util.find_spec("nevergrad") is not None, reason="nevergrad is installed")
def test_a_library_that_a_method_needs_and_a_host_has_not_is_told_with_its_remedy(
    with_plugin: Host, tmp_path: Path
) -> None:
    for command in ("validate", "run"):
        code, _, err = with_plugin(command, job(tmp_path, "nevergrad"))
        assert code == 2
        (line,) = err.strip().splitlines()
        assert "tuning.method: method nevergrad needs nevergrad, which is not installed for " in line
        assert line.endswith("install it there (pip install nevergrad)")


def test_options_are_checked_and_what_is_left_out_has_its_default(with_plugin: Host, tmp_path: Path) -> None:
    code, out, _ = with_plugin("validate", job(tmp_path, "annealing", options={"width": 1}), "--json")
    assert code == 0
    assert json.loads(out)["resolved"]["options"] == {"width": 1.0, "cooling": 0.9}
    for options, reason in (
        (
            {"widht": 0.1},
            "tuning.options.widht: is no option of method annealing; did you mean 'width'? its options are",
        ),
        ({"width": 7}, "tuning.options.width: is 7.0; it can be 0.001 to 1"),
        ({"cooling": "much"}, "tuning.options.cooling: is 'much'; it is a number"),
    ):
        code, _, err = with_plugin("validate", job(tmp_path, "annealing", options=options))
        assert code == 2
        assert reason in err
    code, _, err = with_plugin("validate", job(tmp_path, "tpe", options={"width": 1}))
    assert (code, "is no option of method tpe; it has none" in err) == (2, True)


def test_without_the_package_a_job_is_refused_with_what_there_is(without: Host, tmp_path: Path) -> None:
    code, _, err = without("validate", job(tmp_path, "annealing"))
    assert code == 2
    assert "unknown method 'annealing'; available are bayesian, cmaes," in err
    assert "another package's is there once it is installed" in err


def begin(layout: SpoolLayout, tmp_path: Path, objectives: Path, name: str) -> None:
    """A session as a host that has the plug-in makes it of a job, before anything of it is done."""
    path = job(tmp_path, "annealing")
    spec = resolve_job(load_job(path), base_dirs=[tmp_path], session_id=name, search_paths=[objectives])
    create_session(Files(), layout, name, path.read_bytes(), spec)


def test_a_host_without_the_package_leaves_the_session_to_those_that_have_it_and_says_so(
    on_path: None,
    with_plugin: Host,
    without: Host,
    layout: SpoolLayout,
    tmp_path: Path,
    objectives: Path,
    daemons: Daemons,
) -> None:
    begin(layout, tmp_path, objectives, "s")
    reason = "unknown method 'annealing'"
    lacking = daemons.start("lacks-it", "--burst", slots=1)
    assert lacking.wait(120) == 1
    assert reason in daemons.log()
    assert "the session began with plug-in arbd-plugin-example 0.1.0 sha256:" in daemons.log()
    daemons.start("lacks-it", slots=1)
    wait_until(lambda: reason in without("workers")[1], 60)
    wait_until(lambda: reason in without("status", "s")[1], 60)
    # Both work on it now: one suggests, both evaluate.
    path = job(tmp_path, "annealing")
    assert with_plugin("run", path, "--session-id", "s", "--worker-id", "has-it")[0] == 0
    assert with_plugin("run", path, "--session-id", "alone", "--worker-id", "has-it")[0] == 0
    assert rows(layout, "s") == rows(layout, "alone")
    assert len(rows(layout, "s")) == 24


def test_another_version_of_the_plugin_does_not_mix(
    on_path: None, with_plugin: Host, layout: SpoolLayout, tmp_path: Path, installed: Path
) -> None:
    assert with_plugin("run", job(tmp_path, "annealing"), "--session-id", "s", "--worker-id", "w")[0] == 0
    paths = layout.session("s")
    for name in Files().names(paths.generations)[3:]:
        (paths.generations / name).unlink()
    changed = tmp_path / "changed"
    shutil.copytree(installed, changed)
    module = changed / "arbd_plugin_example" / "annealing.py"
    module.write_text(module.read_text() + "\n# another version\n")
    sys.path.insert(0, str(changed))
    try:
        for urgent in (False, True):
            outcome = Suggester(Files(), paths).suggest(4, urgent=urgent)
            assert not outcome.published
            assert outcome.unable.startswith("plug-in arbd-plugin-example 0.1.0 sha256:")
            assert "install the version that the session began with" in outcome.unable
    finally:
        sys.path.remove(str(changed))
        forget()
    assert Suggester(Files(), paths).suggest(4).published


def test_its_market_data_format_imports(with_plugin: Host, tmp_path: Path) -> None:
    for venue, price in (("a", 100.0), ("b", 101.0)):
        lines = [
            json.dumps({"ms": 1_700_000_000_000 + 1_000 * i, "b": price + i, "a": price + i + 1}) for i in range(5)
        ]
        (tmp_path / f"{venue}.jsonl").write_text("\n".join(lines))
    options = ("--a", tmp_path / "a.jsonl", "--b", tmp_path / "b.jsonl", "--output", tmp_path / "q.csv", "--json")
    code, out, err = with_plugin("market", "import", "--format", "touch-jsonl", *options)
    assert code == 0, err
    assert json.loads(out)["rows"] == 5
    code, _, err = with_plugin("market", "import", "--format", "touch-json", *options)
    assert (code, "did you mean 'touch-jsonl'?" in err) == (2, True)
