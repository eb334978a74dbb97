"""Versions are known also where an application was packaged without metadata."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata

import numpy as np
import pytest

from arbd import installed
from arbd.installed import UNKNOWN, recorded_hashes, version_of
from tests.conftest import REPOSITORY


def no_metadata(name: str) -> str:
    raise metadata.PackageNotFoundError(name)


def test_without_metadata_the_module_tells_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    assert version_of("numpy") == np.__version__
    monkeypatch.setattr(installed, "_metadata_folder", lambda name: None)
    monkeypatch.setattr(metadata, "version", no_metadata)
    assert version_of("numpy") == np.__version__
    assert version_of("numba", may_import=False) == UNKNOWN


@pytest.mark.parametrize("method", ["random", "bayesian", "cmaes", "tpe"])
def test_a_job_is_valid_where_no_library_has_metadata(method: str) -> None:
    hide = (
        "from importlib import metadata\n"
        "def none(name): raise metadata.PackageNotFoundError(name)\n"
        "metadata.version = none\n"
        "from arbd import installed\n"
        "installed._metadata_folder = lambda name: None\n"
        "import sys\n"
        "from arbd.cli.__main__ import call\n"
        "sys.exit(call(sys.argv[1:]))\n"
    )
    job = str(REPOSITORY / "etc" / "jobs" / "baseline_tuning.yaml")
    done = subprocess.run(
        [sys.executable, "-c", hide, "validate", job, "--set", f"tuning.method={method}"],
        capture_output=True, text=True, cwd=REPOSITORY, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_versions_and_records_are_those_of_the_standard_library() -> None:
    for each in metadata.distributions():
        assert version_of(each.name) == each.version, each.name
    records = {str(file): file.hash.value for file in metadata.files("numpy") or [] if file.hash is not None}
    assert recorded_hashes("numpy") == records


def test_no_other_module_asks_for_metadata_of_versions() -> None:
    asking = [path for path in (REPOSITORY / "arbd").rglob("*.py") if "metadata.version(" in path.read_text()]
    assert [path.name for path in asking] == ["installed.py"]
