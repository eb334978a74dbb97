"""What is installed is pinned: every file by its hash, everything that is needed, and nothing that pyproject.toml refuses."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import REPOSITORY

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
PYTHONS = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["project"]["classifiers"]))
ASKED = {"runtime": PROJECT["project"]["dependencies"], "build": PROJECT["build-system"]["requires"]}
PINNED = re.compile(
    r"^([A-Za-z0-9._-]+)==([^ ;\\]+)(?: ; ([^\\]+?))? \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", re.MULTILINE
)


def environment(python: str) -> dict[str, str]:
    """Markers of a Linux host with that Python of Debian or Ubuntu."""
    return {
        "python_version": python, "python_full_version": f"{python}.2", "sys_platform": "linux", "os_name": "posix",
        "platform_system": "Linux", "platform_machine": "x86_64", "implementation_name": "cpython",
        "platform_python_implementation": "CPython", "extra": "",
    }  # fmt: skip


def pins(name: str, python: str) -> dict[str, str]:
    """The version of each package that a host with that Python gets."""
    text = (REPOSITORY / "lock" / f"{name}.txt").read_text()
    found = PINNED.findall(text)
    # Nothing stands there that pip would take without a hash.
    assert len(found) == sum(not line.startswith(("#", " ")) for line in text.splitlines() if line)
    chosen = {}
    for package, version, marker, _ in found:
        if not marker or Requirement(f"x; {marker}").marker.evaluate(environment(python)):  # type: ignore[union-attr]
            assert package not in chosen
            chosen[package] = version
    return chosen


def needed(requirement: Requirement, python: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate(environment(python))


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("name", ASKED)
def test_every_python_gets_each_dependency_in_a_version_that_the_project_allows(name: str, python: str) -> None:
    found = pins(name, python)
    for requirement in map(Requirement, ASKED[name]):
        assert requirement.specifier.contains(found[canonicalize_name(requirement.name)]), requirement


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("name", ASKED)
def test_what_pinned_packages_need_is_pinned_too_and_fits(name: str, python: str) -> None:
    found, looked_at = pins(name, python), 0
    for package, version in found.items():
        try:
            about = metadata.distribution(package)
        except metadata.PackageNotFoundError:
            continue
        # Of other versions than that of this environment nothing is known here.
        if about.version != version:
            continue
        looked_at += 1
        for requirement in map(Requirement, about.requires or ()):
            if needed(requirement, python):
                assert requirement.specifier.contains(found[canonicalize_name(requirement.name)]), (
                    package,
                    requirement,
                )
    assert looked_at


def test_the_pins_are_of_this_pyproject_and_of_no_other(tmp_path: Path) -> None:
    for name in ("bin/lock", "lock/runtime.txt", "lock/build.txt", "pyproject.toml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(REPOSITORY / name, tmp_path / name)
    command = [tmp_path / "bin/lock", "--check"]
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0
    text = (tmp_path / "pyproject.toml").read_text()
    (tmp_path / "pyproject.toml").write_text(text.replace('"click>=8.2"', '"click>=8.3"'))
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "run bin/lock" in done.stderr


@pytest.mark.parametrize("script", ["bin/install", "bin/package"])
def test_nothing_is_installed_that_is_not_pinned(script: str) -> None:
    lines = (REPOSITORY / script).read_text().splitlines()
    installs = [line for line in lines if re.search(r"pip\b.* install ", line) and "apt install" not in line]
    assert installs
    for line in installs:
        assert "--require-hashes" in line or "--no-deps" in line, line
