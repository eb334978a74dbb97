"""A real distributed filesystem, mounted twice as if by two hosts: GlusterFS with one brick on this machine.

Server and clients live in network namespaces of their own, joined by a bridge, so that nothing of the machine's
network is touched and a client can be unplugged. Every process started here is ended here.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
from pathlib import Path
from types import TracebackType

from tests.beds.needs import (  # fmt: skip
    BedUnavailableError,
    is_mounted,
    require_device,
    require_programs,
    require_root,
    run,
    unmount,
    wait_for,
)

SERVER = "10.87.0.1"
VOLUME = "spool"
SILENCE_S = 12
PROGRAMS = {"glusterd": "glusterfs-server", "glusterfs": "glusterfs-client", "ip": "iproute2", "nsenter": "util-linux"}
MANAGEMENT = """\
volume management
  type mgmt/glusterd
  option working-directory {home}/state
  option run-directory {home}/run
  option glusterd-sockfile {home}/run/glusterd.socket
  option transport-type socket
  option transport.socket.bind-address {server}
  option ping-timeout 0
end-volume
"""


class GlusterBed:
    """`with GlusterBed(folder) as bed:`, then `bed.mounts` are the folder as seen by two hosts."""

    def __init__(self, folder: Path) -> None:
        self._home = folder
        # Interface and namespace names are short, and several beds may be up at once.
        self._tag = "ab" + hashlib.sha256(str(folder).encode()).hexdigest()[:5]
        self.mounts = (folder / "host-a", folder / "host-b")

    def __enter__(self) -> GlusterBed:
        require_root()
        require_device("/dev/fuse")
        require_programs(PROGRAMS)
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

    def kill_client(self, index: int) -> None:
        """SIGKILL the client of a mount, as when its host dies; whoever uses the mount gets errors."""
        os.kill(self._client_pid(index), signal.SIGKILL)
        wait_for(lambda: not _lives(self._client_pid(index)), 10, "the client's death")
        unmount(self.mounts[index])

    def unplug(self, index: int) -> None:
        """Take a host off the network: no packet comes through, nobody is told."""
        self._inside("ip", "link", "set", f"port{index}", "down")

    def plug(self, index: int) -> None:
        """Put it back."""
        self._inside("ip", "link", "set", f"port{index}", "up")

    def _space(self, who: str) -> str:
        return f"{self._tag}-{who}"

    def _inside(self, *command: str | Path, who: str = "server", check: bool = True) -> None:
        # Not `ip netns exec`: that has a mount namespace of its own, in which the mounts would stay.
        run("nsenter", f"--net=/run/netns/{self._space(who)}", "--", *command, check=check)

    def _gluster(self, *command: str | Path) -> None:
        self._inside("gluster", "--mode=script", f"--glusterd-sock={self._home}/run/glusterd.socket", f"--log-file={self._home}/log/cli.log", *command)  # fmt: skip

    def _bring_up(self) -> None:
        for name in ("run", "log", "state", "brick"):
            (self._home / name).mkdir(parents=True)
        self._connect()
        description = self._home / "management.vol"
        description.write_text(MANAGEMENT.format(home=self._home, server=SERVER))
        self._inside("glusterd", "-f", description, "-p", self._home / "run/server.pid", "-l", self._home / "log/server.log")  # fmt: skip

        def answers() -> bool:
            try:
                self._gluster("volume", "list")
            except BedUnavailableError:
                return False
            return True

        wait_for(answers, 30, "an answer of glusterd")
        self._gluster("volume", "create", VOLUME, f"{SERVER}:{self._home}/brick", "force")
        # The server gives up a silent client after this; its default of 42 s only makes tests longer.
        self._gluster("volume", "set", VOLUME, "network.ping-timeout", str(SILENCE_S))
        self._gluster("volume", "start", VOLUME)
        for index in range(len(self.mounts)):
            self.mount(index)

    def _connect(self) -> None:
        if run("ip", "netns", "add", self._space("server"), check=False).returncode:
            raise BedUnavailableError("no network namespaces on this machine")
        self._inside("ip", "link", "set", "lo", "up")
        self._inside("ip", "link", "add", "bridge", "type", "bridge")
        self._inside("ip", "addr", "add", f"{SERVER}/24", "dev", "bridge")
        self._inside("ip", "link", "set", "bridge", "up")
        for index in range(len(self.mounts)):
            host, port = self._space(str(index)), f"port{index}"
            run("ip", "netns", "add", host)
            self._inside("ip", "link", "set", "lo", "up", who=str(index))
            self._inside("ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", host)
            self._inside("ip", "link", "set", port, "master", "bridge")
            self._inside("ip", "link", "set", port, "up")
            self._inside("ip", "addr", "add", f"10.87.0.{index + 2}/24", "dev", "eth0", who=str(index))
            self._inside("ip", "link", "set", "eth0", "up", who=str(index))

    def mount(self, index: int) -> None:
        """Mount as that host does when it comes up."""
        point = self.mounts[index]
        point.mkdir(exist_ok=True)
        client = (
            "glusterfs", f"--volfile-server={SERVER}", f"--volfile-id={VOLUME}",
            f"--log-file={self._home}/log/client{index}.log", f"--pid-file={self._client_pid_file(index)}", point,
        )  # fmt: skip

        def mounted() -> bool:
            # A host that was just plugged in again does not reach the server at the first try.
            if not is_mounted(point):
                self._inside(*client, who=str(index), check=False)
            return is_mounted(point) and run("stat", point / ".", check=False).returncode == 0

        wait_for(mounted, 30, f"mount {point}")

    def _client_pid_file(self, index: int) -> Path:
        return self._home / f"run/client{index}.pid"

    def _client_pid(self, index: int) -> int:
        return int(self._client_pid_file(index).read_text())

    def _tear_down(self) -> None:
        spaces = [self._space(who) for who in ("0", "1", "server")]
        # Everything that runs in these namespaces was started here.
        for space in spaces:
            found = run("ip", "netns", "pids", space, check=False)
            for pid in map(int, found.stdout.split()) if found.returncode == 0 else ():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                wait_for(lambda pid=pid: not _lives(pid), 10, f"the end of process {pid}")  # type: ignore[misc]
        # Only now: while a client lives that cannot reach its server, unmounting waits for it.
        for point in self.mounts:
            unmount(point)
        for space in spaces:
            run("ip", "netns", "del", space, check=False)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
