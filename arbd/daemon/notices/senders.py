"""The ways to tell somebody: a program of the settings, an HTTP POST, a mail. Each raises DeliveryError when it was not taken.

Nothing here follows where it is sent to: redirections are errors. What comes back is read with a bound and told in one line.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from arbd import __version__
from arbd.daemon.notices.message import Message
from arbd.daemon.notices.settings import MailSettings, Target
from arbd.errors import DeliveryError
from arbd.terminal_text import escape_line

if TYPE_CHECKING:
    import smtplib

Send = Callable[[Message], None]
MAX_ANSWER_BYTES = 1000
MAX_SECRET_BYTES = 4096
MAX_PIPE_BYTES = 60_000


def sender_of(target: Target, smtp: MailSettings) -> Send:
    """How a target is told."""
    if target.webhook:
        return lambda message: post(target, message)
    if target.exec:
        return lambda message: execute(target, message)
    return lambda message: mail(target, smtp, message)


@contextlib.contextmanager
def _within(seconds: float, shut: Callable[[], None]) -> Iterator[None]:
    """Have `shut` called when the block takes longer: what answers a byte at a time would hold it for ever."""
    timer = threading.Timer(seconds, shut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _shut(held: Any) -> Callable[[], None]:
    """Ends the socket of a connection, wherever somebody waits for it."""

    def shut() -> None:
        sock = getattr(held, "sock", None)
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    return shut


def post(target: Target, message: Message) -> None:
    """POST the message as JSON. Taken when the answer is 2xx."""
    import http.client  # noqa: PLC0415 - only who posts needs it

    headers = {
        "Content-Type": "application/json",
        "User-Agent": f"arbd/{__version__}",
        "Idempotency-Key": message.key,
    }
    if target.token_file:
        headers["Authorization"] = f"Bearer {_secret(target.token_file)}"
    parts = urlsplit(target.webhook)
    assert parts.hostname is not None, "settings are checked"
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname, parts.port, timeout=target.timeout_s)
    try:
        with _within(2 * target.timeout_s, _shut(connection)):
            connection.request("POST", path, json.dumps(message.plain(), allow_nan=False).encode(), headers)
            with connection.getresponse() as answer:
                status = answer.status
                said = "" if status // 100 == 2 else _shown(answer.read(MAX_ANSWER_BYTES))
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise DeliveryError(f"{target.shown} cannot be reached: {str(error) or type(error).__name__}") from error
    finally:
        connection.close()
    if status // 100 == 3:
        # Followed, the message and its token would go to whom nobody named.
        raise DeliveryError(f"{target.shown} answered {status}, which points elsewhere: name that URL instead")
    if status // 100 != 2:
        raise DeliveryError(f"{target.shown} answered {status}" + (f": {said}" if said else ""))


def execute(target: Target, message: Message) -> None:
    """Run the program with the message as JSON on standard input. Taken when it exits with 0 in time."""
    program = Path(target.exec[0])
    _require_safe(program)
    names = {"EVENT": message.document["event"], "SESSION_ID": message.document["session_id"], "KEY": message.key}
    environment = {**os.environ, **{f"ARBD_{name}": str(value) for name, value in names.items()}}
    try:
        process = subprocess.Popen(  # noqa: S603 - a program of the settings, which is looked at
            target.exec, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd="/",
            env={**environment, "ARBD_ATTEMPT": str(message.attempt)}, start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise DeliveryError(f"{program} cannot be run: {error.strerror or error}") from error
    said = bytearray()
    reader = threading.Thread(target=_keep_end, args=(process.stderr, said), daemon=True)
    reader.start()
    try:
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError), process.stdin as pipe:
            # Less than a pipe holds: whoever does not read it does not hold this up.
            pipe.write(json.dumps(message.plain(), allow_nan=False).encode()[:MAX_PIPE_BYTES])
        code = process.wait(target.timeout_s)
    except subprocess.TimeoutExpired as error:
        raise DeliveryError(f"{program} did not end within {target.timeout_s:g} s and was killed") from error
    finally:
        # Whatever it started, too.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        reader.join(1.0)
    if code:
        shown = _shown(bytes(said))
        raise DeliveryError(f"{program} ended with exit code {code}" + (f": {shown}" if shown else ""))


def _keep_end(stream: IO[bytes] | None, kept: bytearray) -> None:
    """The last of what a program says, however much that is."""
    assert stream is not None
    with stream:
        while piece := os.read(stream.fileno(), 1 << 16):
            kept += piece
            del kept[:-MAX_ANSWER_BYTES]


def _require_safe(program: Path) -> None:
    """DeliveryError when somebody else could have put another program there."""
    try:
        found = program.stat()
    except OSError as error:
        raise DeliveryError(f"{program} cannot be run: {error.strerror or error}") from error
    if found.st_uid not in (0, os.geteuid()) or found.st_mode & (stat.S_IWOTH | stat.S_IWGRP):
        raise DeliveryError(
            f"{program} is not run: it must be root's or the daemon's user's, and nobody else may write it"
        )


def mail(target: Target, smtp: MailSettings, message: Message) -> None:
    """Send a mail. Taken when the server took it for all addresses; its Message-ID is the same for each attempt."""
    import smtplib  # noqa: PLC0415 - only who mails needs it
    from email.message import EmailMessage  # noqa: PLC0415 - as above

    letter = EmailMessage()
    letter["From"], letter["To"] = smtp.sender, ", ".join(target.mail)
    letter["Subject"] = escape_line(message.subject())
    letter["Message-ID"] = f"<{message.key}.{target.name}@{smtp.sender.rpartition('@')[2]}>"
    letter["Auto-Submitted"] = "auto-generated"
    letter["X-Arbd-Attempt"] = str(message.attempt)
    letter.set_content(message.text())
    try:
        server = _server(smtp, target.timeout_s)
        with _within(3 * target.timeout_s, _shut(server)), server:
            refused = server.send_message(letter)
    except (OSError, smtplib.SMTPException, ValueError) as error:
        # An SMTPException is an OSError.
        said = _shown(str(error).encode())
        raise DeliveryError(f"mail server {smtp.host}:{smtp.port}: {said or type(error).__name__}") from error
    if refused:
        raise DeliveryError(f"mail server {smtp.host}:{smtp.port} refused {', '.join(sorted(refused))}")


def _server(smtp: MailSettings, timeout_s: float) -> smtplib.SMTP:
    import smtplib  # noqa: PLC0415 - only who mails needs it
    import ssl  # noqa: PLC0415 - as above

    context = ssl.create_default_context()
    if smtp.security == "tls":
        server: smtplib.SMTP = smtplib.SMTP_SSL(smtp.host, smtp.port, timeout=timeout_s, context=context)
    else:
        server = smtplib.SMTP(smtp.host, smtp.port, timeout=timeout_s)
    try:
        if smtp.security == "starttls":
            server.starttls(context=context)
        if smtp.user:
            server.login(smtp.user, _secret(smtp.password_file))
    except Exception:
        server.close()
        raise
    return server


def _secret(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            found = file.read(MAX_SECRET_BYTES).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not ASCII text"
        raise DeliveryError(f"{path} cannot be read: {reason}") from error
    if not found or any(character < " " for character in found):
        raise DeliveryError(f"{path} holds no secret of one line")
    return found


def _shown(answer: bytes) -> str:
    return escape_line(" ".join(answer.decode(errors="replace").split()))[:300]
