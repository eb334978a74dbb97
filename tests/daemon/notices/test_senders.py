"""Programs, webhooks and mail as they are really sent, and what is said when they are not taken."""

from __future__ import annotations

import email
import json
import os
import socket
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from arbd.daemon.notices.message import Message
from arbd.daemon.notices.senders import sender_of
from arbd.daemon.notices.settings import MailSettings, Target
from arbd.errors import DeliveryError
from tests.conftest import wait_until
from tests.daemon.notices.servers import mail_server, webhook

DOCUMENT: dict[str, Any] = {
    "event": "verdict", "session_id": "kimchi", "state": "done", "user": "anna", "labels": {}, "method": "tpe",
    "iterations": 10, "statuses": {"completed": 9, "failed": 1}, "stopped": "", "started": None, "ended": None,
    "told_by": "here", "verdict": {"verdict": "luck", "rule": "the best of ten", "reasons": ["too few"]},
}  # fmt: skip


def send(target: Target, smtp: MailSettings | None = None, attempt: int = 1) -> None:
    sender_of(target, smtp or MailSettings())(Message("kimchi-1-verdict", attempt, DOCUMENT))


def test_a_webhook_gets_the_document_its_key_and_its_token(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret\n")
    with webhook() as hook:
        send(Target("desk", webhook=hook.url, token_file=str(tmp_path / "token")), attempt=2)
    assert hook.got == [{"key": "kimchi-1-verdict", "attempt": 2, "may_be_repeated": True, **DOCUMENT}]
    assert hook.headers[0]["Idempotency-Key"] == "kimchi-1-verdict"
    assert hook.headers[0]["Authorization"] == "Bearer s3cret"


@pytest.mark.parametrize("code", [302, 400, 503])
def test_an_answer_that_is_no_yes_is_an_error_and_no_redirection_is_followed(code: int) -> None:
    with webhook() as hook:
        hook.answers.append(code)
        told = ", which points elsewhere" if code == 302 else ": busy"
        with pytest.raises(DeliveryError, match=rf"^webhook http://127.0.0.1:\d+/... answered {code}{told}") as error:
            send(Target("desk", webhook=hook.url))
        assert len(hook.got) == 1
    assert "\x1b" not in str(error.value)
    assert "hidden" not in str(error.value)


def test_a_webhook_that_does_not_answer_or_is_not_there_is_given_up_in_time() -> None:
    with webhook() as hook:
        hook.hold.clear()
        with pytest.raises(DeliveryError, match="cannot be reached"):
            send(Target("desk", webhook=hook.url, timeout_s=0.3))
    with pytest.raises(DeliveryError, match="refused"):
        send(Target("desk", webhook=hook.url, timeout_s=5))


def test_a_server_that_answers_a_byte_at_a_time_holds_nobody_for_ever() -> None:
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            connection, _ = server.accept()
            with connection:
                while not done.wait(0.05):
                    try:
                        connection.send(b"x")
                    except OSError:
                        return

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            with pytest.raises(DeliveryError, match="cannot be reached"):
                send(Target("desk", webhook=f"http://127.0.0.1:{server.getsockname()[1]}/", timeout_s=0.3))
        finally:
            done.set()
            thread.join()


def program(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_a_program_gets_the_document_on_standard_input_and_its_arguments(tmp_path: Path) -> None:
    told = program(
        tmp_path / "tell", f'cat > {tmp_path}/got; echo "$1 $ARBD_SESSION_ID $ARBD_ATTEMPT" > {tmp_path}/said'
    )
    send(Target("desk", exec=(str(told), "--quiet")), attempt=3)
    assert json.loads((tmp_path / "got").read_text())["verdict"]["verdict"] == "luck"
    assert (tmp_path / "said").read_text() == "--quiet kimchi 3\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("echo not now >&2; exit 3", "ended with exit code 3: not now"),
        ("sleep 60 & sleep 60", "did not end within 0.5 s and was killed"),
        ("yes error | head -c 3000000 >&2; exit 1", "exit code 1"),
    ],
)
def test_a_program_that_fails_or_hangs_is_told_and_leaves_nothing(tmp_path: Path, text: str, said: str) -> None:
    told = program(tmp_path / "tell", f"echo $$ > {tmp_path}/pid; {text}")
    with pytest.raises(DeliveryError, match="exit code|killed") as error:
        send(Target("desk", exec=(str(told),), timeout_s=0.5 if "sleep" in text else 30))
    assert said in str(error.value)
    assert len(str(error.value)) < 1_000
    group = int((tmp_path / "pid").read_text())

    def is_gone() -> bool:
        return not any(
            (Path("/proc") / pid / "stat").exists() and os.getpgid(int(pid)) == group
            for pid in os.listdir("/proc")
            if pid.isdigit() and _is_mine(pid)
        )

    wait_until(is_gone, what="the end of what it started")


def _is_mine(pid: str) -> bool:
    try:
        os.getpgid(int(pid))
    except ProcessLookupError:
        return False
    return True


def test_a_program_that_others_can_write_is_not_run(tmp_path: Path) -> None:
    told = program(tmp_path / "tell", f"touch {tmp_path}/ran")
    told.chmod(told.stat().st_mode | stat.S_IWOTH)
    with pytest.raises(DeliveryError, match="nobody else may write it"):
        send(Target("desk", exec=(str(told),)))
    with pytest.raises(DeliveryError, match="cannot be run"):
        send(Target("desk", exec=(str(tmp_path / "missing"),)))
    assert not (tmp_path / "ran").exists()


def test_a_mail_says_it_in_words_with_the_same_id_for_each_attempt() -> None:
    with mail_server() as post:
        smtp = MailSettings("127.0.0.1", post.port, sender="arbd@example.org")
        target = Target("desk", mail=("anna@example.org", "bob@example.org"))
        send(target, smtp)
        send(target, smtp, attempt=2)
    first, second = (email.message_from_string(letter) for letter in post.letters)
    assert first["Message-ID"] == second["Message-ID"] == "<kimchi-1-verdict.desk@example.org>"
    assert first["Subject"] == "arbd: kimchi verdict: luck"
    assert post.envelopes[0] == ["anna@example.org", "bob@example.org"]
    text = str(first.get_payload())
    assert "too few" in text
    assert "sent before" not in text
    assert "sent before" in str(second.get_payload())


def test_a_mail_server_that_refuses_or_is_not_there_is_told() -> None:
    with mail_server() as post:
        smtp = MailSettings("127.0.0.1", post.port, sender="arbd@example.org")
        post.refuse.append("bob@example.org")
        with pytest.raises(DeliveryError, match=r"refused bob@example.org|nobody of that name"):
            send(Target("desk", mail=("anna@example.org", "bob@example.org")), smtp)
    with pytest.raises(DeliveryError, match="mail server 127.0.0.1"):
        send(Target("desk", mail=("anna@example.org",), timeout_s=5), smtp)
