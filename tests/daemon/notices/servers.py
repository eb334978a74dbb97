"""Who is told, on loopback: a server of HTTP and one of mail that keep what they get, and can refuse or be slow."""

from __future__ import annotations

import contextlib
import json
import socketserver
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Hook:
    """A webhook. `answers` are given one after the other, then 200; `hold` keeps it from answering until it is set."""

    port: int = 0
    got: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    hold: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook/secret-path?token=hidden"


@contextlib.contextmanager
def webhook(port: int = 0) -> Iterator[Hook]:
    hook = Hook()
    hook.hold.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            hook.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            hook.headers.append(dict(self.headers))
            hook.hold.wait(60)
            code = hook.answers.pop(0) if hook.answers else 200
            with contextlib.suppress(OSError):
                self.send_response(code)
                if code == 302:
                    self.send_header("Location", hook.url)
                self.end_headers()
                self.wfile.write(b"busy\x1b[31m\n" if code >= 300 else b"ok")

        def log_message(self, *about: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    hook.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield hook
    finally:
        hook.hold.set()
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class Post:
    """A mail server."""

    port: int = 0
    letters: list[str] = field(default_factory=list)
    envelopes: list[list[str]] = field(default_factory=list)
    refuse: list[str] = field(default_factory=list)


@contextlib.contextmanager
def mail_server() -> Iterator[Post]:
    post = Post()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 here\r\n")
            to: list[str] = []
            while line := self.rfile.readline():
                verb = line.decode().strip()
                if verb.upper().startswith("QUIT"):
                    self.wfile.write(b"221 bye\r\n")
                    return
                if verb.upper().startswith("RCPT"):
                    address = verb.partition("<")[2].partition(">")[0]
                    if address in post.refuse:
                        self.wfile.write(b"550 nobody of that name\r\n")
                        continue
                    to.append(address)
                if verb.upper().startswith("RSET"):
                    to = []
                if verb.upper() == "DATA":
                    self.wfile.write(b"354 go on\r\n")
                    lines = []
                    while (text := self.rfile.readline()) not in (b".\r\n", b""):
                        lines.append(text)
                    post.letters.append(b"".join(lines).decode())
                    post.envelopes.append(to)
                self.wfile.write(b"250 fine\r\n")

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True

    server = Server(("127.0.0.1", 0), Handler)
    post.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield post
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
