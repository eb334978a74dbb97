"""What listens where Redis should: as Redis would, as a broken one would, or not at all."""

from __future__ import annotations

import contextlib
import random
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.fuzz.mutations import mutate_bytes

REPLIES = [
    b"+OK\r\n", b"+PONG\r\n", b"+QUEUED\r\n", b":1\r\n", b"$-1\r\n", b"*-1\r\n", b"*0\r\n", b"$0\r\n\r\n", b"*2\r\n$4\r\ndone\r\n$1\r\n1\r\n",
    b"*2\r\n$1\r\n0\r\n*0\r\n", b"*2\r\n$1\r\n0\r\n*1\r\n$1\r\nk\r\n", b"-ERR no\r\n", b"-MOVED 1 h:1\r\n", b"-NOAUTH no\r\n",
    b"-LOADING wait\r\n", b"-OOM command not allowed\r\n", b"$20\r\nmaxmemory:1\r\nx:y\r\nz\r\n", b"*1\r\n:1\r\n", b"*3\r\n+a\r\n:1\r\n$-1\r\n",
    b"$3\r\n\xff\xfe\xfd\r\n", b"*2\r\n$2\r\n\xff\xfe\r\n$1\r\n1\r\n", b":" + b"9" * 5_000 + b"\r\n", b"*" + b"9" * 30 + b"\r\n", b"", b"\r\n",
    b"%1\r\n+a\r\n+b\r\n", b"_\r\n", b",nan\r\n", b"#t\r\n", b"*1\r\n" * 300, b"$-2\r\n", b"*-5\r\n", b"$x\r\n", b"?\r\n",
]  # fmt: skip
RIGHT = {
    b"HELLO": b"%1\r\n$5\r\nproto\r\n:3\r\n", b"SETINFO": b"+OK\r\n", b"PING": b"+PONG\r\n", b"SELECT": b"+OK\r\n", b"WATCH": b"+OK\r\n",
    b"HGETALL": b"%0\r\n", b"INFO": b"$13\r\nmaxmemory:0\r\n\r\n", b"SCAN": b"*2\r\n$1\r\n0\r\n*0\r\n",
}  # fmt: skip


class WrongRedis:
    """Answers each request on a unix socket with what `reply` makes of it; an empty one ends the connection."""

    def __init__(self, reply: Callable[[bytes], bytes], path: Path) -> None:
        self._reply = reply
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen()
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        """End it, with whoever waits for it."""
        while self._thread.is_alive():
            # One that it took up meanwhile is ended at the next look.
            for each in (self._server, *self._open):
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
            self._thread.join(0.01)
        for each in (self._server, *self._open):
            each.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            self._open.append(connection)
            with contextlib.suppress(OSError):
                self._answer(connection)
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _answer(self, connection: socket.socket) -> None:
        while request := connection.recv(1 << 16):
            for _ in range(request.count(b"\r\n*") + 1):
                reply = self._reply(request)
                if not reply:
                    return
                connection.sendall(reply)


def answers(rng: random.Random) -> Callable[[bytes], bytes]:
    """Mostly right ones, and nonsense now and then."""

    def reply(request: bytes) -> bytes:
        kind = rng.randrange(10)
        right = next((right for word, right in RIGHT.items() if word in request), None)
        if kind and right is not None:
            return right
        wrong = rng.choice(REPLIES)
        return mutate_bytes(rng, wrong) + b"\r\n" if kind == 9 else wrong

    return reply


@contextlib.contextmanager
def wrong_redis(reply: Callable[[bytes], bytes]) -> Iterator[Path]:
    """Its socket."""
    # The name of a socket may not be long.
    folder = Path(tempfile.mkdtemp(prefix="r-", dir="/tmp"))
    server = WrongRedis(reply, folder / "s")
    try:
        yield folder / "s"
    finally:
        server.close()
        shutil.rmtree(folder)
