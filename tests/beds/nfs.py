"""A real NFSv4 server and two real clients: three small virtual machines under software emulation (no KVM needed).

Slow, and the real thing: kernel clients with their own caches and leases, whose power can be cut. They are set up by
the commands of the installation guide, as they stand there.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import random
import shutil
import signal
import socket
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.beds.needs import SEARCH, BedUnavailableError
from tests.beds.nfs_image import Images, build, make_code_disk, make_disk
from tests.guide import AS_ROOT

ROLES = ("server", "one", "two")
BOOT_PATIENCE_S = 240.0


@dataclass(frozen=True)
class Done:
    """How an errand on a guest ended."""

    status: int
    out: str
    err: str


class Guest:
    """One virtual machine."""

    def __init__(
        self, role: str, folder: Path, images: Images, code: Path, network: str, lease_s: int, commands: str
    ) -> None:
        self.role = role
        self._commands = commands
        self._folder = folder
        self._images, self._code, self._network, self._lease_s = images, code, network, lease_s
        self._process: subprocess.Popen[bytes] | None = None
        self._line: socket.socket | None = None
        self._ids = itertools.count(1)
        self._answers: dict[int, dict[str, Any]] = {}
        self._news = threading.Condition()

    def boot(self) -> None:
        """Switch on; `wait` until it is ready."""
        number = ROLES.index(self.role) + 1
        line = self._folder / f"{self.role}.line"
        line.unlink(missing_ok=True)
        # A busy machine lets an emulated timer tick too late for the kernel, which would then not start.
        kernel_line = f"console=ttyS0 quiet panic=-1 no_timer_check mitigations=off bed.role={self.role} bed.number={number} bed.lease={self._lease_s}"
        # What is written to the root is gone when the machine ends.
        disks = [(self._images.root, "snapshot=on"), (self._code, "readonly=on")]
        if self.role == "server":
            disks.append((self._folder / "export.ext4", "readonly=off"))
        command = [
            "qemu-system-x86_64", "-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-m", "640", "-smp", "1",
            "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
            "-kernel", str(self._images.kernel), "-initrd", str(self._images.initrd), "-append", kernel_line,
            "-serial", f"file:{self._folder / self.role}.console",
            "-chardev", f"socket,id=line,path={line},server=on,wait=off", "-serial", "chardev:line",
            "-netdev", f"socket,id=net,{self._network}",
            "-device", f"virtio-net-pci,netdev=net,mac=52:54:00:66:00:{number:02x},romfile=",
            "-device", "virtio-rng-pci",
        ]  # fmt: skip
        for index, (disk, mode) in enumerate(disks):
            command += ["-drive", f"file={disk},format=raw,if=none,id=disk{index},{mode},file.locking=off", "-device", f"virtio-blk-pci,drive=disk{index}"]  # fmt: skip
        self._answers.clear()
        with (self._folder / f"{self.role}.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={"PATH": SEARCH}
            )
        self._line = self._connect(line)
        threading.Thread(target=self._listen, args=(self._line,), daemon=True).start()

    def _connect(self, path: Path) -> socket.socket:
        give_up = time.monotonic() + 20
        while True:
            line = socket.socket(socket.AF_UNIX)
            try:
                line.connect(str(path))
            except OSError as error:
                line.close()
                if time.monotonic() > give_up or self._ended():
                    raise BedUnavailableError(f"qemu does not start, see {self._folder / self.role}.log") from error
                time.sleep(0.05)
            else:
                return line

    def _ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def _listen(self, line: socket.socket) -> None:
        # Power may go at any time.
        with contextlib.suppress(OSError), line.makefile("rb") as lines:
            for text in lines:
                try:
                    answer = json.loads(text)
                except ValueError:
                    continue
                with self._news:
                    self._answers[answer["id"]] = answer
                    self._news.notify_all()

    def wait(self) -> None:
        """Until it is set up."""
        self._answer(0, BOOT_PATIENCE_S)
        done = self.run("sh", "-c", AS_ROOT + self._commands)
        if done.status:
            raise AssertionError(f"{self.role} is not set up: {done.out}{done.err}")

    def _answer(self, number: int, timeout_s: float) -> dict[str, Any]:
        give_up = time.monotonic() + timeout_s
        with self._news:
            while number not in self._answers:
                left = give_up - time.monotonic()
                if left <= 0 or self._ended():
                    raise BedUnavailableError(f"{self.role} does not answer, see {self._folder / self.role}.console")
                self._news.wait(min(left, 1.0))
            return self._answers.pop(number)

    def _send(self, argv: tuple[str, ...], *, wait: bool) -> int:
        number = next(self._ids)
        errand = {
            "id": number,
            "argv": argv,
            "env": {"PYTHONPATH": "/code", "PYTHONDONTWRITEBYTECODE": "1"},
            "wait": wait,
        }
        assert self._line is not None
        self._line.sendall(json.dumps(errand).encode() + b"\n")
        return number

    def run(self, *argv: str, timeout_s: float = 120.0) -> Done:
        """Run a command to its end."""
        answer = self._answer(self._send(argv, wait=True), timeout_s)
        return Done(answer["status"], answer["out"], answer["err"])

    def start(self, *argv: str) -> int:
        """Leave a command running; its process id there."""
        return int(self._answer(self._send(argv, wait=False), 60.0)["pid"])

    def cut_power(self) -> None:
        """Gone, with everything that was not written."""
        if self._process is not None:
            if self._line is not None:
                self._line.close()
                self._line = None
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """The whole machine stands still."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """And goes on as if nothing had been."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


class NfsBed:
    """`with NfsBed(folder, on_server, on_clients) as bed:`: three hosts on which those shell commands were run."""

    def __init__(self, folder: Path, on_server: str, on_clients: str, lease_s: int = 15) -> None:
        self._folder = folder
        self._commands = {role: on_server if role == "server" else on_clients for role in ROLES}
        self._lease_s = lease_s
        self._guests: dict[str, Guest] = {}

    @property
    def server(self) -> Guest:
        """The file server, 192.0.2.1; a disk of its own is mounted at /srv/arbd."""
        return self._guests["server"]

    @property
    def clients(self) -> tuple[Guest, Guest]:
        """The hosts that work."""
        return self._guests["one"], self._guests["two"]

    def __enter__(self) -> NfsBed:
        images = build()
        code = make_code_disk(self._folder)
        make_disk(self._folder / "export.ext4", 256)
        # A network of the guests alone: packets to a multicast group that does not leave the loopback interface.
        network = f"mcast=230.66.0.{random.randint(1, 250)}:{random.randint(20_000, 60_000)},localaddr=127.0.0.1"
        for role in ROLES:
            self._guests[role] = Guest(role, self._folder, images, code, network, self._lease_s, self._commands[role])
        try:
            for guest in self._guests.values():
                guest.boot()
            for guest in self._guests.values():
                guest.wait()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        for guest in self._guests.values():
            guest.cut_power()
        for disk in self._folder.glob("*.ext4"):
            disk.unlink()
        shutil.rmtree(self._folder / "code", ignore_errors=True)
