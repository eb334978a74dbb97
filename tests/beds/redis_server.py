"""A real Redis on a unix socket, which can be killed, started again, and robbed of its data."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from types import TracebackType

import redis

from arbd.mirror.settings import RedisSettings
from arbd.mirror.state import StateManager
from tests.beds.needs import SEARCH, require_programs, wait_for


class RedisServer:
    """`with RedisServer(folder) as server:`; keeps every write in an append-only file unless `forgets`."""

    def __init__(self, folder: Path, *, forgets: bool = False, options: tuple[str, ...] = ()) -> None:
        self._options = options
        self._folder = folder
        self._forgets = forgets
        self._process: subprocess.Popen[bytes] | None = None
        self.settings = RedisSettings(url=f"unix://{folder}/redis.sock", env="test")

    def __enter__(self) -> RedisServer:
        require_programs({"redis-server": "redis-server"})
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def client(self) -> redis.Redis:
        """A connection for the test itself."""
        return redis.Redis.from_url(self.settings.url, decode_responses=True)

    def state(self) -> StateManager:
        """As a mirror uses it."""
        return StateManager.connect(self.settings)

    def start(self) -> None:
        """Start, and wait until it answers."""
        log = (self._folder / "redis.log").open("ab")
        self._process = subprocess.Popen(
            ["redis-server", "--port", "0", "--unixsocket", self._folder / "redis.sock", "--dir", self._folder,
             "--save", "", "--appendonly", "no" if self._forgets else "yes", "--appendfsync", "always", *self._options],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={"PATH": SEARCH},
        )  # fmt: skip
        log.close()

        def answers() -> bool:
            with self.client as client:
                try:
                    return bool(client.ping())
                except redis.RedisError:
                    return False

        wait_for(answers, 20, "an answer of redis-server")

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop_answering(self) -> None:
        """It takes connections, and says nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """It answers again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)
