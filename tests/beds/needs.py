"""What a bed needs of the machine: programs (installed from Debian's packages where that may be), rights, devices."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.conftest import wait_until

# Administration programs are in folders that a user's PATH may lack.
SEARCH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))


class BedUnavailableError(Exception):
    """This machine cannot have the bed; the text says why."""


def run(*command: str | Path, timeout_s: float = 60.0, check: bool = True) -> subprocess.CompletedProcess[str]:
    """A command of a bed; with its output in the error when it fails."""
    try:
        done = subprocess.run(
            [str(part) for part in command], check=False, capture_output=True, text=True, timeout=timeout_s,
            stdin=subprocess.DEVNULL, env={**os.environ, "PATH": SEARCH},
        )  # fmt: skip
    except FileNotFoundError as error:
        raise BedUnavailableError(f"no program {command[0]}") from error
    if check and done.returncode:
        told = (done.stderr or done.stdout).strip()[-500:]
        raise BedUnavailableError(f"`{' '.join(map(str, command))}` ended with {done.returncode}: {told}")
    return done


def require_root() -> None:
    """Mounting and namespaces are for root."""
    if os.getuid() != 0:
        raise BedUnavailableError("only root can bring it up")


def require_device(path: str) -> None:
    """A device file must be there."""
    if not Path(path).exists():
        raise BedUnavailableError(f"no {path} on this machine")


def require_programs(packages: Mapping[str, str]) -> None:
    """Every program of {program: Debian package} is there, or is installed now."""
    missing = {package for program, package in packages.items() if not shutil.which(program, path=SEARCH)}
    if not missing:
        return
    if os.getuid() != 0 or not shutil.which("apt-get", path=SEARCH):
        raise BedUnavailableError(f"packages are missing and cannot be installed here: {', '.join(sorted(missing))}")
    _install(sorted(missing))
    still = [program for program in packages if not shutil.which(program, path=SEARCH)]
    if still:
        raise BedUnavailableError(f"still missing after installing {', '.join(sorted(missing))}: {', '.join(still)}")


def _install(packages: list[str]) -> None:
    # With RUNLEVEL=1 a package does not start its server.
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1", "PATH": SEARCH}
    command = ["apt-get", "install", "-qq", "-y", "--no-install-recommends", *packages]
    # Of two test runs at once, one waits for the other.
    with (Path(tempfile.gettempdir()) / "arbd-beds-apt.lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        _install_alone(command, environment, packages)


def _install_alone(command: list[str], environment: dict[str, str], packages: list[str]) -> None:
    for attempt in (1, 2):
        done = subprocess.run(
            command, check=False, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300
        )
        if done.returncode == 0:
            return
        if attempt == 1:
            subprocess.run(
                ["apt-get", "update", "-qq"],
                check=False,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=300,
            )
    raise BedUnavailableError(f"apt-get cannot install {', '.join(packages)}: {done.stderr.strip()[-300:]}")


def is_mounted(point: Path) -> bool:
    """By the kernel's list: looking at the folder could hang."""
    points = (line.split(" ")[1] for line in Path("/proc/self/mounts").read_text().splitlines())
    return str(point) in points


def unmount(point: Path) -> None:
    """Unmount; a busy one disappears as soon as the last user is gone."""
    if is_mounted(point) and run("umount", point, check=False).returncode:
        run("umount", "-l", point, check=False)


def wait_for(condition: Callable[[], object], within_s: float, what: str) -> None:
    """`wait_until` whose failure means that the machine cannot have the bed."""
    try:
        wait_until(condition, within_s, what)
    except AssertionError as error:
        raise BedUnavailableError(str(error)) from error
