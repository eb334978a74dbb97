"""Clusters for tests: real schedulers and workers, processes on loopback, all of which end with the test."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path

from tests.conftest import REPOSITORY, wait_until


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@dataclass
class DaskCluster:
    """A scheduler at one address, however often it is started, and workers of one thread each.

    `tls` is a folder with `ca.pem`, `host.pem` and `host.key`, for one that is encrypted.
    """

    folder: Path
    tls: Path | None = None
    port: int = field(default_factory=free_port)
    scheduler: subprocess.Popen[bytes] | None = None
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"{'tcp' if self.tls is None else 'tls'}://127.0.0.1:{self.port}"

    def _start(self, name: str, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        self.folder.mkdir(exist_ok=True)
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", *arguments, "--no-dashboard", *self._secrets()],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder,
                env={**os.environ, "XDG_CACHE_HOME": str(self.folder / "cache"), "PYTHONPATH": str(REPOSITORY), **environment},
            )  # fmt: skip

    def _secrets(self) -> list[str]:
        if self.tls is None:
            return []
        files = (("ca-file", "ca.pem"), ("cert", "host.pem"), ("key", "host.key"))
        return [f"--tls-{name}={self.tls / file}" for name, file in files]

    def start_scheduler(self) -> None:
        self.scheduler = self._start(
            "scheduler",
            "distributed.cli.dask_scheduler",
            "--host",
            self.address.rpartition(":")[0],
            "--port",
            str(self.port),
        )
        wait_until(self._listens, within_s=600, what="the start of the scheduler")

    def _listens(self) -> bool:
        with socket.socket() as tried:
            return tried.connect_ex(("127.0.0.1", self.port)) == 0

    def start_worker(self, **environment: str) -> subprocess.Popen[bytes]:
        self.workers.append(
            self._start(
                f"worker-{len(self.workers)}", "distributed.cli.dask_worker", self.address, "--no-nanny",
                "--nthreads", "1", "--local-directory", str(self.folder), "--death-timeout", "120", **environment,
            )
        )  # fmt: skip
        return self.workers[-1]

    def kill_scheduler(self) -> None:
        assert self.scheduler is not None
        self.scheduler.kill()
        self.scheduler.wait(20)

    def stop(self) -> None:
        for process in [*self.workers, *([self.scheduler] if self.scheduler is not None else [])]:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.wait(20)


class Relay:
    """A link to a port on loopback that can be cut: what was connected ends, and nobody connects until it is mended."""

    def __init__(self, to_port: int) -> None:
        self._to_port = to_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._is_cut = False
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        with self._lock:
            self._is_cut = True
            ends, self._open = self._open, set()
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        with self._lock:
            self._is_cut = False

    def close(self) -> None:
        self.cut()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._to_port), timeout=5)
                far.settimeout(None)
            except OSError:
                near.close()
                continue
            with self._lock:
                if self._is_cut:
                    near.close()
                    far.close()
                    continue
                self._open |= {near, far}
            for source, target in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(source, target), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
