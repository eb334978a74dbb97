"""The live page over HTTP: Python's own server, with bounds, and headers that leave a browser nothing to run but our files."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from arbd.errors import UsageError
from arbd.page.access import Listen
from arbd.page.routes import Response, Routes, failure

MAX_CONNECTIONS = 200
# A connection on which nothing comes is closed after so long; a browser opens another.
SOCKET_TIMEOUT_S = 30.0
MAX_BODY_BYTES = 4_096
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}

Answer = Callable[[str, str, dict[str, str]], Response]


class PageServer(ThreadingHTTPServer):
    """Listens; answers once `routes` is set. OSError when the address is taken."""

    daemon_threads = True
    # A page that is started again need not wait for the connections of the last.
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, listen: Listen) -> None:
        self.address_family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
        self.routes: Routes | None = None
        self._free = threading.BoundedSemaphore(MAX_CONNECTIONS)
        try:
            super().__init__((listen.host, listen.port), PageHandler)
        except OSError as error:
            raise UsageError(
                f"cannot listen at {listen.name}:{listen.port} ({error.strerror or error}): name another with --listen"
            ) from error

    @property
    def port(self) -> int:
        """The port that was bound."""
        return int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        """One thread for each connection, up to the bound; further ones are closed."""
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """As of the base class."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away is no error; anything else is said."""
        problem = sys.exception()
        if not isinstance(problem, ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class PageHandler(BaseHTTPRequestHandler):
    """Reads requests and writes what the routes answer."""

    protocol_version = "HTTP/1.1"
    server_version = "arbd"
    sys_version = ""
    timeout = SOCKET_TIMEOUT_S
    server: PageServer

    def do_GET(self) -> None:
        """Reading."""
        self._answer("GET")

    def do_HEAD(self) -> None:
        """Reading, without the body."""
        self._answer("GET", with_body=False)

    def do_POST(self) -> None:
        """Changing."""
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > MAX_BODY_BYTES or "Transfer-Encoding" in self.headers:
            self.close_connection = True
            self._send(failure(400, "a request of this page has a short body, and says how long it is"))
            return
        self.rfile.read(int(length))
        self._answer("POST")

    def _answer(self, method: str, *, with_body: bool = True) -> None:
        assert self.server.routes is not None, "it listens before it answers, and answers before it is asked"
        headers = {name.lower(): value for name, value in self.headers.items()}
        found = self.server.routes.answer(method, self.path, headers)
        if found.stamp and headers.get("if-none-match") == f'"{found.stamp}"':
            found = Response(304, b"", found.type, found.stamp, found.headers)
        self._send(found, with_body=with_body)

    def _send(self, found: Response, *, with_body: bool = True) -> None:
        self.send_response(found.status)
        for name, value in {**HEADERS, **found.headers}.items():
            self.send_header(name, value)
        if found.stamp:
            self.send_header("ETag", f'"{found.stamp}"')
        if found.status != 304:
            self.send_header("Content-Type", found.type)
            self.send_header("Content-Length", str(len(found.body)))
        self.end_headers()
        if with_body and found.status != 304:
            self.wfile.write(found.body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the base class says of requests that are none, as this page says it."""
        del explain
        self.close_connection = True
        if self.request_version == "HTTP/0.9":
            return
        self._send(failure(code, message or "this is no request of a browser"))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class calls it so
        """Nothing: a page asks every second."""
