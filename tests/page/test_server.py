"""The page as it is served by the real command: what it answers, to whom, and what it costs."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from arbd.results.compaction import compact
from arbd.search.problem import MetricGoal
from arbd.search.space import ChoiceDimension, FloatDimension, SearchSpace
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.ledger import FAILED
from tests.beds.faultfs import FaultBed, Rule
from tests.conftest import Arbctl, wait_until
from tests.page.serving import Served, cpu_s, serving, settings
from tests.spool.sessions import exhaust, make_session, rows_of, write_rows

EVIL = "</script><img src=x onerror=window.hurt=1>"
ALL_CALLS = ("getattr", "readdir", "open", "read", "flock")


def make_results(layout: SpoolLayout, n: int, name: str, *, finished: bool = True) -> None:
    space = SearchSpace((FloatDimension("x", 0.0, 1.0), ChoiceDimension("kind", (EVIL, "down"))))
    goals = (MetricGoal("value", "maximize"), MetricGoal("risk", "minimize"))
    paths = make_session(layout, n, name, space=space, metrics=goals, fixed={"fee": EVIL})
    good = rows_of(1, n - 2)
    spread = np.random.default_rng(1).random(n - 2)
    good = replace(
        good, params={"x": spread, "kind": good.params["kind"]}, metrics={"value": spread**2 + 1, "risk": spread}
    )
    failed = rows_of(n - 1, 2, status=FAILED)
    write_rows(paths, "host-a", good)
    write_rows(paths, "host-b", replace(failed, errors=dict.fromkeys(failed.errors, EVIL)))
    if finished:
        exhaust(paths, n, (n - 2, 2, 0, 0))
        compact(Files(), paths)


@pytest.fixture
def served(layout: SpoolLayout, objectives: Path) -> Iterator[Served]:
    with serving(layout.root, objectives.parent / "arbd.yaml") as page:
        yield page


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One for all that change nothing."""
    folder = tmp_path_factory.mktemp("standing")
    layout = SpoolLayout(folder / "spool")
    layout.root.mkdir()
    layout.prepare()
    make_results(layout, 10, "s")
    make_session(layout, 5, "fresh")
    with serving(layout.root, settings(folder)) as page:
        page.wait_for_sessions(2)
        yield page


def test_sessions_and_one_of_them_and_its_iterations_are_answered(layout: SpoolLayout, served: Served) -> None:
    make_results(layout, 40, "s")
    assert served.wait_for_sessions(1)["sessions"][0]["state"] == "done"
    status, content, headers = served.ask("/api/session/s")
    assert (status, content["rows"], content["metric"], len(content["ranking"])) == (200, 40, "value", 38)
    assert served.ask("/api/session/s", headers={"If-None-Match": headers["ETag"]})[0] == 304
    assert served.ask("/api/session/s?metric=risk")[1]["ascending"] is True
    best = content["ranking"][0]["iteration"]
    row = served.ask(f"/api/session/s/iteration/{best}")[1]
    assert (row["status"], row["params"], row["is_paper"]) == ("completed", content["ranking"][0]["params"], False)
    assert served.ask("/api/session/s/iteration/40")[1]["error"] == EVIL
    assert served.ask("/api/bests?ids=s,nowhere")[1]["s"]["value"] == content["ranking"][0]["metrics"]["value"]
    make_results(layout, 30, "t")
    compared = served.ask("/api/compare?ids=s,t")[1]
    assert [one["best"] for one in compared["sessions"]] == [one["curve"]["values"][-1] for one in compared["sessions"]]


@pytest.mark.parametrize(
    ("target", "status", "word"),
    [
        ("/api/session/nowhere", 404, "no session"), ("/api/session/s?metric=pnl", 400, "metrics are: value, risk"),
        ("/api/session/s/iteration/99", 404, "no result"), ("/api/session/s/iteration/x", 400, "number"),
        ("/api/session/..%2F..", 400, "not usable"), ("/api/session/.hidden", 400, "not usable"), ("/api/session/s/run/1", 422, "paper"),
        ("/api/nothing", 404, "nothing"), ("/nothing", 404, "nothing"), ("/assets/..%2f..%2fpyproject.toml", 404, "nothing"),
        ("/api/compare?ids=s", 400, "two sessions"), ("/api/changes?since=x", 400, "number"),
    ],
)  # fmt: skip
def test_what_cannot_be_answered_is_said(standing: Served, target: str, status: int, word: str) -> None:
    found, document, _ = standing.ask(target)
    assert (found, word in document["error"]) == (status, True)


def test_every_answer_forbids_what_the_page_does_not_need(standing: Served) -> None:
    for target in ("/", "/assets/app.js", "/api/about", "/nothing"):
        headers = standing.ask(target)[2]
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert (headers["X-Content-Type-Options"], headers["Cross-Origin-Resource-Policy"]) == (
            "nosniff",
            "same-origin",
        )
    page = standing.ask("/")[1].decode()
    assert "http" not in page.replace("http-equiv", "")
    assert page.count("<script") == page.count('<script src="/assets/')


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": ""},
        {"Host": "127.0.0.1:1"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
    ],
    ids=str,
)
def test_a_foreign_name_or_origin_is_refused_by_every_method(
    standing: Served, method: str, headers: dict[str, str]
) -> None:
    status, document, _ = standing.ask("/api/changes?since=0", method, headers, b"{}" if method == "POST" else None)
    assert status == 403
    assert "sessions" not in (document or {})


@pytest.mark.parametrize("verb", ["pause", "cancel", "resume", "retry"])
def test_a_page_that_only_shows_changes_nothing(standing: Served, verb: str) -> None:
    before = standing.changes()["sessions"]
    origin = f"http://127.0.0.1:{standing.port}"
    for headers in ({}, {"Origin": origin}, {"Origin": origin, "Authorization": "Bearer "}):
        assert standing.ask(f"/api/session/fresh/{verb}", "POST", headers, b"{}")[0] == 403
    assert standing.ask(f"/api/session/fresh/{verb}")[0] == 404
    assert standing.changes()["sessions"] == before


def test_whoever_has_the_token_controls_and_nobody_else(layout: SpoolLayout, objectives: Path, arbctl: Arbctl) -> None:
    make_session(layout, 5, "s")
    make_results(layout, 12, "bad")
    with serving(layout.root, objectives.parent / "arbd.yaml", "--allow-control") as page:
        origin = {"Origin": f"http://127.0.0.1:{page.port}"}
        right = origin | {"Authorization": f"Bearer {page.token}"}
        for wrong in (
            origin,
            origin | {"Authorization": "Bearer x"},
            origin | {"Authorization": f"Basic {page.token}"},
        ):
            assert page.ask("/api/session/s/pause", "POST", wrong, b"{}")[0] == 401
        assert page.ask("/api/session/s/pause", "POST", {"Authorization": f"Bearer {page.token}"}, b"{}")[0] == 403
        assert page.ask("/api/session/s/pause", "POST", right, b"x" * 5_000)[0] == 400
        assert page.ask("/api/session/s/pause", "POST", right)[0] == 400
        assert page.ask("/api/session/s/pause", "POST", right, b"{}")[:2] == (
            200,
            {"session_id": "s", "state": "paused"},
        )
        assert json.loads(arbctl("status", "s", "--json")[1])["state"] == "paused"
        assert page.ask("/api/session/s/cancel", "POST", right, b"{}")[0] == 200
        status, document, _ = page.ask("/api/session/s/resume", "POST", right, b"{}")
        assert (status, "cannot become" in document["error"]) == (400, True)
        assert page.ask("/api/session/bad/retry", "POST", right, b"{}")[1] == {"session_id": "bad", "iterations": 2}
        assert page.ask("/api/session/nowhere/pause", "POST", right, b"{}")[0] == 404


def test_a_token_file_is_private_and_long(layout: SpoolLayout, arbctl: Arbctl, tmp_path: Path) -> None:
    file = tmp_path / "token"
    for text, mode, word in (
        ("x" * 40, 0o644, "chmod 600"),
        ("short", 0o600, "holds no token"),
        ("with blanks in between it", 0o600, "no token"),
    ):
        file.write_text(text)
        file.chmod(mode)
        code, _, err = arbctl("serve", "--listen", "127.0.0.1:0", "--token-file", file)
        assert (code, word in err) == (2, True)


def test_an_address_that_is_taken_is_said(layout: SpoolLayout, arbctl: Arbctl, served: Served) -> None:
    code, _, err = arbctl("serve", "--listen", f"127.0.0.1:{served.port}")
    assert (code, "--listen" in err, err.count("\n")) == (2, True, 1)


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_it_ends_at_once_when_it_is_told_to_even_while_somebody_watches(served: Served, sent: int, code: int) -> None:
    with socket.create_connection(("127.0.0.1", served.port)) as watching:
        watching.sendall(b"GET /api/about HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % served.port)
        assert watching.recv(12) == b"HTTP/1.1 200"
        served.process.send_signal(sent)
        assert served.process.wait(20) == code


@pytest.mark.parametrize(
    "request_bytes", [b"", b"\0\0\0", b"GET", b"GET / HTTP/9.9\r\n\r\n", b"PUT / HTTP/1.1\r\n\r\n", b"GET http://[ HTTP/1.1\r\n\r\n", b"GET /" + b"x" * 70_000]
)  # fmt: skip
def test_what_is_no_request_of_a_browser_harms_nobody(standing: Served, request_bytes: bytes) -> None:
    with socket.create_connection(("127.0.0.1", standing.port)) as strange:
        strange.sendall(request_bytes)
        strange.shutdown(socket.SHUT_WR)
        strange.settimeout(20)
        assert b" 200 " not in strange.recv(1_000)
    assert standing.ask("/api/about")[0] == 200


def test_a_spool_that_is_away_is_said_and_nothing_of_it_is_called_gone(layout: SpoolLayout, served: Served) -> None:
    make_results(layout, 20, "s")
    make_session(layout, 5, "other")
    served.wait_for_sessions(2)
    before = served.ask("/api/session/s")[1]
    away = layout.root.rename(layout.root.with_name("away"))
    wait_until(lambda: "does not exist" in served.changes()["trouble"], what="it to be said that the spool is away")
    trouble = served.changes()["trouble"]
    assert "mount the shared folder" in trouble
    assert "what is shown is as it was before" in trouble
    assert "Errno" not in trouble
    assert served.changes()["count"] == 2
    for target in ("/api/session/other", "/api/session/other/iteration/1", "/api/session/nowhere"):
        status, content, _ = served.ask(target)
        assert (status, "does not exist: mount" in content["error"]) == (503, True), target
    away.rename(layout.root)
    wait_until(lambda: not served.changes()["trouble"], what="it to come back")
    assert served.ask("/api/session/s")[1]["ranking"] == before["ranking"]
    assert served.ask("/api/session/nowhere")[0] == 404


@pytest.mark.bed
def test_the_page_survives_a_spool_that_hangs(faults: FaultBed, objectives: Path) -> None:
    layout = SpoolLayout(faults.mount)
    layout.prepare()
    make_results(layout, 20, "s")
    make_session(layout, 5, "other")
    with serving(layout.root, objectives.parent / "arbd.yaml") as page:
        page.wait_for_sessions(2)
        before = page.ask("/api/session/s")[1]
        faults.set(Rule(ALL_CALLS))
        try:
            wait_until(lambda: page.changes()["hangs_s"] > 0, what="it to be said that the spool hangs")
            assert [row["id"] for row in page.changes()["sessions"]] == ["s", "other"] or page.changes()["count"] == 2
            status, content, _ = page.ask("/api/session/s")
            assert (status, content["ranking"]) == (200, before["ranking"])
            assert page.ask("/")[0] == 200
            assert page.changes()["hangs_s"] > 0, "all this was answered while the spool hung"
        finally:
            faults.clear()
        wait_until(lambda: page.changes()["hangs_s"] == 0, what="it to come back")
        assert page.ask("/api/session/other")[0] == 200


@pytest.mark.slow
def test_many_sessions_and_many_rows_are_cheap_to_watch(layout: SpoolLayout, served: Served) -> None:
    """Bounds far above what was measured: they are to notice a list that is read again whole, or rows as objects."""
    for number in range(500):
        exhaust(make_session(layout, 3, f"s{number:04d}"), 3)
    make_results(layout, 100_000, "many")
    version = served.wait_for_sessions(501)["version"]
    before = cpu_s(served.process)
    for _ in range(40):
        assert len(served.changes(0)["sessions"]) == 501
        served.changes(version)
    assert served.ask("/api/session/many")[1]["rows"] == 100_000
    assert cpu_s(served.process) - before < 10
    peak = next(
        line for line in Path(f"/proc/{served.process.pid}/status").read_text().splitlines() if line.startswith("VmHWM")
    )
    assert int(peak.split()[1]) < 300 * 1024
