"""Events in the journal's own form, and when it is used."""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbd.daemon.host import journal
from arbd.daemon.host.journal import JournalHandler, encode
from arbd.daemon.host.logs import Log
from tests.conftest import REPOSITORY


def decoded(data: bytes) -> dict[str, str]:
    """As journald reads it."""
    fields = {}
    while data:
        line, _, rest = data.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            size = int.from_bytes(rest[:8], "little")
            value, data = rest[8 : 8 + size], rest[9 + size :]
        else:
            data = rest
        fields[name.decode()] = value.decode()
    return fields


@given(st.dictionaries(st.from_regex(r"[A-Z_]{1,10}", fullmatch=True), st.text(max_size=40)))
def test_any_text_survives_the_journals_form(fields: dict[str, str]) -> None:
    assert decoded(encode(fields)) == fields


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Log, socket.socket]]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "journal"))
        server.settimeout(5)
        monkeypatch.setattr(JournalHandler.__init__, "__defaults__", (tmp_path / "journal",))
        yield Log("info", "journal", worker="w"), server


def test_an_event_has_its_fields(log: tuple[Log, socket.socket]) -> None:
    events, server = log
    events.warning("a slot died", session="s", iteration=17, reason="two\nlines")
    events.debug("not written")
    events.error("broken")
    first, second = (decoded(server.recv(100_000)) for _ in range(2))
    assert first == {
        "MESSAGE": 'a slot died session=s iteration=17 reason="two\\nlines"', "PRIORITY": "4", "SYSLOG_IDENTIFIER": "arbd",
        "ARBD_EVENT": "a slot died", "WORKER_ID": "w", "SESSION_ID": "s", "ITERATION": "17", "ARBD_REASON": "two\nlines",
    }  # fmt: skip
    assert (second["PRIORITY"], second["MESSAGE"]) == ("3", "broken")


def test_a_field_is_cut_before_it_is_too_large_for_a_datagram(log: tuple[Log, socket.socket]) -> None:
    events, server = log
    events.info("large", reason="x" * 1_000_000)
    assert len(decoded(server.recv(1_000_000))["ARBD_REASON"]) == journal.MAX_FIELD_CHARS


def test_without_a_journal_the_event_is_a_line(
    log: tuple[Log, socket.socket], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log[1].close()
    (tmp_path / "journal").unlink()
    Log("info", "journal", worker="w").info("hello", session="s")
    assert "level=info event=hello worker=w session=s" in capfd.readouterr().err


def test_the_journal_is_used_only_where_it_reads_standard_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(journal, "SOCKET", tmp_path)
    found = os.fstat(2)
    assert not journal.reads_standard_error()
    monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
    assert journal.reads_standard_error()
    monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino + 1}")
    assert not journal.reads_standard_error()


def test_priorities_are_those_of_syslog() -> None:
    levels = (logging.CRITICAL, logging.ERROR, logging.WARNING, logging.INFO, logging.DEBUG)
    assert [journal.priority(level) for level in levels] == [2, 3, 4, 6, 7]


def test_the_style_changes_while_it_runs() -> None:
    text = (
        "from arbd.daemon.host.logs import Log\nlog = Log('info', 'text')\nlog.info('one')\n"
        "log.configure('warning', 'json')\nlog.info('two')\nlog.warning('three', n=3)\n"
    )
    err = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, check=True, cwd=REPOSITORY
    ).stderr.splitlines()
    assert len(err) == 2
    assert "event=one" in err[0]
    assert (json.loads(err[1])["event"], json.loads(err[1])["n"]) == ("three", 3)
