"""A real systemd as PID 1 of a container: Debian with the project's unit, started, reloaded, killed and stopped.

The root is built once (debootstrap) and kept in a cache; each bed writes into an overlay of its own. The container
has no network but loopback. Code and packages of this checkout are mounted into it, read-only.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType

from tests.beds.needs import BedUnavailableError, is_mounted, require_programs, require_root, run, unmount, wait_for
from tests.beds.nfs_image import PYTHON, RELEASE, REPOSITORY, cache_folder

PACKAGES = ("systemd", "systemd-sysv", "dbus", "python3", "procps")
PROGRAMS = {
    "systemd-nspawn": "systemd-container", "debootstrap": "debootstrap", "mount": "mount", "nsenter": "util-linux",
}  # fmt: skip
# What a container without devices and network only fails at.
MASKED = (
    "e2scrub_all.timer", "fstrim.timer", "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer",
    "systemd-timesyncd.service", "console-getty.service", "getty@tty1.service", "systemd-networkd.service",
    "systemd-resolved.service",
)  # fmt: skip
LAUNCHER = """\
#!/bin/sh
export PYTHONPATH=/mnt/source:/mnt/packages PYTHONDONTWRITEBYTECODE=1
{environment}exec {python} -m {module} "$@"
"""
# Debian 13 has systemd 257, and a Python that the packages of this one are not for.
NEXT_RELEASE = "trixie"


class BootedSystem:
    """`with BootedSystem(folder) as system:`, then `system.run("systemctl", ...)`.

    The unit is there, not started, unless it is not `installed`: then only packages and `share` are mounted. On another
    `release` of Debian than the usual one, arbd runs under this machine's Python. `binds` are folders of this machine by
    their name inside, as a filesystem that several such hosts have mounted.
    """

    def __init__(
        self,
        folder: Path,
        *,
        installed: bool = True,
        release: str = RELEASE,
        hostname: str | None = None,
        binds: Mapping[str, Path] = MappingProxyType({}),
    ) -> None:
        self._folder = folder
        self._installed = installed
        self._release = release
        self._hostname = hostname
        self._binds = binds
        self._root = folder / "root"
        # What is put here is in /mnt/files inside.
        self.share = folder / "files"
        self._machine = "ab" + hashlib.sha256(str(folder).encode()).hexdigest()[:6]
        self._nspawn: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> BootedSystem:
        require_root()
        if sys.version_info[:2] != PYTHON:
            raise BedUnavailableError(
                f"the container has Python {PYTHON[0]}.{PYTHON[1]}, and runs the packages of this one"
            )
        require_programs(PROGRAMS)
        if self._release != RELEASE and sys.base_prefix == "/usr":
            raise BedUnavailableError(f"this Python is the system's own, which cannot be lent to {self._release}")
        try:
            self._bring_up()
        except BaseException:
            self._tear_down()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._tear_down()

    def run(self, *command: str | Path, check: bool = True, timeout_s: float = 60.0) -> str:
        """Run a command inside, as root; what it printed."""
        pid = self._leader()
        inside = ["nsenter", f"--target={pid}", "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root"]
        clean = ["env", "-i", "-C", "/", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8"]
        return run(*inside, "--", *clean, *command, check=check, timeout_s=timeout_s).stdout

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """A file inside."""
        # Through the container's own view: what is below /run and /tmp there is not in its root folder.
        target = Path(f"/proc/{self._leader()}/root{path}")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(mode)

    def configure(self, settings: str) -> None:
        """User and folders, these settings (with `spool: /mnt/share/spool`), and the unit that fits them."""
        self.run("systemd-sysusers")
        self.run("systemd-tmpfiles", "--create", "/usr/lib/tmpfiles.d/arbd.conf")
        self.run("install", "-d", "-o", "arbd", "-g", "arbd", "/mnt/share/spool")
        self.write("/etc/arbd/arbd.yaml", settings)
        self.run("/opt/arbd/bin/arbd", "unit", "--write")

    def cut_power(self) -> None:
        """Every process inside ends at once; what is on its disk stays."""
        assert self._nspawn is not None
        os.kill(self._leader(), signal.SIGKILL)
        self._nspawn.wait(30)
        self._nspawn = None

    def boot(self) -> None:
        """Boot it, the first time or after its power was cut."""
        log = (self._folder / "console.log").open("wb")
        packages = sysconfig.get_path("purelib")
        self._nspawn = subprocess.Popen(
            ["systemd-nspawn", "--quiet", "--boot", f"--directory={self._root}", f"--machine={self._machine}",
             "--register=no", "--keep-unit", "--private-network", "--console=pipe", "--kill-signal=SIGRTMIN+3",
             f"--bind-ro={REPOSITORY}/arbd:/mnt/source/arbd", f"--bind-ro={packages}:/mnt/packages",
             f"--bind-ro={self.share}:/mnt/files",
             *(f"--bind={outside}:{inside}" for inside, outside in self._binds.items()),
             *([] if self._release == RELEASE else [f"--bind-ro={sys.base_prefix}:/mnt/python"])],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        log.close()

        def is_running() -> bool:
            assert self._nspawn is not None
            if self._nspawn.poll() is not None:
                told = (self._folder / "console.log").read_text(errors="replace")[-500:]
                raise BedUnavailableError(f"systemd-nspawn ended: {told}")
            try:
                return self.run("systemctl", "is-system-running", check=False).strip() in ("running", "degraded")
            except (BedUnavailableError, FileNotFoundError):
                return False

        wait_for(is_running, 60, "the boot of the container")

    def _leader(self) -> int:
        """PID 1 of the container: the child of nspawn's process."""
        assert self._nspawn is not None
        children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children").read_text().split()
        if not children:
            raise BedUnavailableError("the container is not up")
        return int(children[0])

    def _bring_up(self) -> None:
        lower = _build(self._release)
        for name in ("root", "upper", "work"):
            (self._folder / name).mkdir()
        self.share.mkdir(exist_ok=True)
        layers = f"lowerdir={lower},upperdir={self._folder}/upper,workdir={self._folder}/work"
        run("mount", "-t", "overlay", "-o", layers, "overlay", self._root)
        # Debootstrap wrote this machine's own.
        (self._root / "etc/hostname").write_text(f"{self._hostname or self._machine}\n")
        if self._installed:
            self._install()
        self.boot()

    def _install(self) -> None:
        """What `bin/install` puts there, with launchers for the mounted code instead of an environment."""
        python, environment = "/usr/bin/python3", ""
        if self._release != RELEASE:
            python = "/mnt/python/bin/python3"
            environment = "export PYTHONHOME=/mnt/python LD_LIBRARY_PATH=/mnt/python/lib\n"
        for module, name in (("arbd.daemon", "arbd"), ("arbd.cli", "arbctl")):
            launcher = self._root / "opt/arbd/bin" / name
            launcher.parent.mkdir(parents=True, exist_ok=True)
            launcher.write_text(LAUNCHER.format(module=module, python=python, environment=environment))
            launcher.chmod(0o755)
        for source, target in (
            ("systemd/arbd.service", "etc/systemd/system/arbd.service"),
            ("systemd/arbd@.service", "etc/systemd/system/arbd@.service"),
            ("systemd/sysusers.d/arbd.conf", "usr/lib/sysusers.d/arbd.conf"),
            ("systemd/tmpfiles.d/arbd.conf", "usr/lib/tmpfiles.d/arbd.conf"),
            ("etc/arbd.yaml", "etc/arbd/arbd.yaml"),
            *(
                ("systemd/notify-reload.conf", f"etc/systemd/system/{unit}.service.d/notify-reload.conf")
                for unit in ("arbd", "arbd@")
                if self._release != RELEASE
            ),
        ):
            (self._root / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / source, self._root / target)

    def _tear_down(self) -> None:
        if self._nspawn is not None:
            if self._nspawn.poll() is None:
                self._nspawn.send_signal(signal.SIGTERM)
                try:
                    self._nspawn.wait(20)
                except subprocess.TimeoutExpired:
                    self._nspawn.kill()
                    self._nspawn.wait()
            self._nspawn = None
        if is_mounted(self._root):
            unmount(self._root)


def _build(release: str) -> Path:
    """The container's root, from the cache where it is there and current."""
    digest = hashlib.sha256(repr((release, PACKAGES, MASKED)).encode()).hexdigest()[:12]
    done = cache_folder() / f"systemd-{digest}"
    if done.exists():
        return done
    done.parent.mkdir(parents=True, exist_ok=True)
    partly = Path(tempfile.mkdtemp(prefix=".systemd-", dir=done.parent))
    try:
        partly.chmod(0o755)
        run("debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", release, partly, timeout_s=600)
        for waste in ("usr/share/doc", "usr/share/locale", "usr/share/man", "var/cache/apt", "var/lib/apt/lists"):
            shutil.rmtree(partly / waste, ignore_errors=True)
        for unit in MASKED:
            (partly / "etc/systemd/system" / unit).symlink_to("/dev/null")
        (partly / "etc/machine-id").write_text("")
        default = partly / "lib/systemd/system/default.target"
        default.unlink(missing_ok=True)
        default.symlink_to("multi-user.target")
        # Two test runs may build at once: one of them is first.
        os.rename(partly, done)
    except OSError:
        if not done.exists():
            raise
    finally:
        shutil.rmtree(partly, ignore_errors=True)
    return done
