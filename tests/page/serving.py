"""A page that is really served, by the real command."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conftest import REPOSITORY, wait_until


@dataclass
class Served:
    """A running `arbctl serve`."""

    process: subprocess.Popen[bytes]
    url: str

    @property
    def port(self) -> int:
        return int(self.url.split(":")[2].split("/")[0])

    @property
    def token(self) -> str:
        return self.url.partition("token=")[2]

    def ask(
        self, target: str, method: str = "GET", headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> tuple[int, Any, dict[str, str]]:
        """Status, the document (or the bytes of what is none), headers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.putrequest(method, target, skip_host=bool(headers and "Host" in headers))
            for name, value in (headers or {}).items():
                connection.putheader(name, value)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            read = answer.read()
        finally:
            connection.close()
        is_json = read and answer.headers.get("Content-Type", "").startswith("application/json")
        return answer.status, json.loads(read) if is_json else read, dict(answer.headers)

    def changes(self, since: int = 0) -> dict[str, Any]:
        status, document, _ = self.ask(f"/api/changes?since={since}")
        assert status == 200
        found: dict[str, Any] = document
        return found

    def wait_for_sessions(self, count: int) -> dict[str, Any]:
        wait_until(lambda: (now := self.changes())["complete"] and now["count"] == count, what=f"{count} sessions")
        return self.changes()


def settings(folder: Path) -> Path:
    """A settings file for a page that has no objectives."""
    (folder / "arbd.yaml").write_text(f"cache_dir: {folder / 'cache'}\n")
    return folder / "arbd.yaml"


@contextlib.contextmanager
def serving(spool: Path, config: Path, *options: str) -> Iterator[Served]:
    process = subprocess.Popen(
        [sys.executable, "-m", "arbd.cli", "--spool", str(spool), "--config", str(config), "serve", "--listen", "127.0.0.1:0",
         "--json", *options],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, cwd=REPOSITORY,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        told = b""
        while not told.rstrip().endswith(b"}"):
            line = process.stdout.readline()
            assert line, "it ended before it said where it is"
            told += line
        yield Served(process, json.loads(told)["url"])
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        finally:
            process.kill()
            process.stdout.close()


def cpu_s(process: subprocess.Popen[bytes]) -> float:
    """Seconds of CPU that it used so far."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100
