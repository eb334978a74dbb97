"""Whatever state a job is in, every command says it, with the reason and what to do, by file name as by session id."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from arbd.job.spec import ResultOptions
from arbd.spool import dropped
from arbd.spool.arrivals import SUBMITTED_SUFFIX
from arbd.spool.dropped import JobState, find_dropped
from arbd.spool.files import Files
from arbd.spool.held import Held, Taker
from arbd.spool.layout import SpoolLayout
from arbd.spool.liveness import Beat, take_liveness_lock, write_beat
from arbd.spool.refusals import Refusal, key_of, write_refusal
from arbd.spool.rejected import reject
from tests.conftest import Arbctl, Daemons, wait_until
from tests.jobs import write_job
from tests.spool.sessions import exhaust, make_session, rows_of, write_rows

FILES = Files()
JOB = b"session_id: mine\nobjective: {python: 'samples:quick'}\n"
NAME = "grid.yaml"
# As whom somebody may ask for it.
CALLED = (NAME, "grid", "mine")


@pytest.fixture
def living(layout: SpoolLayout) -> Iterator[Callable[..., None]]:
    """Workers that live and say something of themselves."""
    with ExitStack() as stack:

        def live(worker_id: str, **about: Any) -> None:
            lock = take_liveness_lock(FILES, layout, worker_id)
            assert lock is not None
            stack.callback(lock.release)
            write_beat(FILES, layout, Beat(worker_id, 1, 1, {"state": "running", "slots": 1, "only": None, **about}))

        yield live


@dataclass(frozen=True)
class Case:
    """A state, what is said of it, and how it is made."""

    state: str
    said: str
    make: Callable[[SpoolLayout, Callable[..., None]], object]


def incoming(layout: SpoolLayout, data: bytes = JOB) -> Path:
    path = layout.incoming / NAME
    path.write_bytes(data)
    return path


def alone(layout: SpoolLayout, live: Callable[..., None]) -> None:
    incoming(layout)


def unended(layout: SpoolLayout, live: Callable[..., None]) -> None:
    live("host-a")
    incoming(layout, JOB[:-1])


def ready(layout: SpoolLayout, live: Callable[..., None]) -> None:
    live("host-a")
    incoming(layout)


def checked(layout: SpoolLayout, live: Callable[..., None]) -> None:
    live("host-a")
    incoming(layout).rename(Held(2, Taker("host-a", 7), "20231114T221320-abcdef", NAME).path(layout))


def refused_here(layout: SpoolLayout, live: Callable[..., None]) -> None:
    live("host-a")
    live("host-b")
    incoming(layout)
    write_refusal(
        FILES, layout, Refusal(key_of(JOB), "host-a", NAME), "python:samples:quick is not allowed on this host"
    )


def refused(layout: SpoolLayout, live: Callable[..., None]) -> None:
    assert reject(FILES, layout, incoming(layout), NAME, "line 3: max_iterations: is missing") is not None


DROPPED = {
    "nobody lives": Case("queued", "no worker runs on this spool that takes jobs up; start one with `arbd run`", alone),
    "no end": Case("queued", "its last line has no end", unended),
    "ready": Case("queued", "waits for a worker to take it up", ready),
    "checked": Case("queued", "worker host-a checks it, attempt 2", checked),
    "refused by one host": Case("queued", "host-a: python:samples:quick is not allowed on this host", refused_here),
    "refused by all": Case("rejected", "line 3: max_iterations: is missing", refused),
}


@pytest.mark.parametrize("case", DROPPED.values(), ids=DROPPED)
def test_every_command_says_how_a_job_stands_that_is_no_session(
    case: Case, arbctl: Arbctl, layout: SpoolLayout, living: Callable[..., None]
) -> None:
    case.make(layout, living)

    def said(*arguments: str) -> str:
        code, out, err = arbctl(*arguments)
        assert code == 0, err
        return out + err

    for wanted in CALLED:
        for command in (("status", wanted), ("watch", wanted, "--once")):
            assert case.state in said(*command)
            assert case.said.partition(";")[0] in " ".join(said(*command).split())
            document = json.loads(said(*command, "--json"))
            assert (document["job"], document["state"], document["session_id"]) == (NAME, case.state, "mine")
            assert case.said.partition(";")[0] in document["reason"]
    assert case.said in said("list")
    (document,) = json.loads(said("list", "--json"))["jobs"]
    assert (document["job"], document["state"]) == (NAME, case.state)
    # What was rejected is not going on.
    for command in (("status",), ("watch", "--once")):
        assert (case.said in said(*command)) == (case.state == "queued")
        assert len(json.loads(said(*command, "--json"))["jobs"]) == (case.state == "queued")


@pytest.mark.parametrize("case", DROPPED.values(), ids=DROPPED)
@pytest.mark.parametrize(
    "command", [("pause",), ("resume",), ("retry",), ("summary",), ("best",), ("replay", "1")], ids=lambda one: one[0]
)
def test_a_command_that_needs_a_session_says_what_the_job_is_instead(
    case: Case, command: tuple[str, ...], arbctl: Arbctl, layout: SpoolLayout, living: Callable[..., None]
) -> None:
    case.make(layout, living)
    code, out, err = arbctl(command[0], "mine", *command[1:])
    assert (code in (2, 3), out) == (True, "")
    assert f"{NAME} is {case.state}, and no session: " in err
    assert case.said.partition(";")[0] in err


@pytest.mark.parametrize("case", DROPPED.values(), ids=DROPPED)
@pytest.mark.parametrize("wanted", CALLED)
def test_a_job_is_cancelled_before_it_is_taken_up_or_it_is_said_why_not(
    case: Case,
    wanted: str,
    arbctl: Arbctl,
    layout: SpoolLayout,
    living: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("arbd.spool.submitted.CHECK_PATIENCE_S", 0.0)
    case.make(layout, living)
    code, out, err = arbctl("cancel", wanted)
    if case.state == "rejected":
        assert (code, "was rejected, nothing of it runs: line 3" in err) == (2, True)
    elif "checks it" in case.said:
        assert (code, "cannot be cancelled now: worker host-a checks it" in err) == (2, True)
    else:
        assert (code, out) == (0, f"{NAME}: cancelled\n")
        found = find_dropped(FILES, layout, wanted)
        assert found is not None
        assert found.state is JobState.REJECTED
        assert "before it was taken up" in found.reason
        assert found.path.read_bytes().startswith(JOB[:-1])


def test_a_job_that_becomes_a_session_while_it_is_cancelled_is_a_cancelled_session(
    arbctl: Arbctl, layout: SpoolLayout, living: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    checked(layout, living)

    def taken_up(seconds: float) -> None:
        del seconds
        if next(layout.taken.iterdir(), None) is not None:
            next(layout.taken.iterdir()).unlink()
            make_session(layout, 3, "mine")

    monkeypatch.setattr("arbd.cli.dropped.time.sleep", taken_up)
    assert arbctl("cancel", "mine")[:2] == (0, "mine: cancelled\n")
    assert json.loads(arbctl("status", "mine", "--json")[1])["state"] == "cancelled"


def test_watch_follows_a_job_from_its_drop_to_its_rejection(
    arbctl: Arbctl, layout: SpoolLayout, living: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    ready(layout, living)
    steps = iter([lambda: incoming(layout).rename(Held(1, Taker("host-a", 7), "20231114T221320-abcdef", NAME).path(layout)),
                  lambda: reject(FILES, layout, next(layout.taken.iterdir()), NAME, "no")])  # fmt: skip
    monkeypatch.setattr("arbd.cli.dropped.time.sleep", lambda seconds: next(steps)())
    code, out, err = arbctl("watch", "grid")
    assert out.splitlines() == [
        f"{NAME}: queued: waits for a worker to take it up",
        f"{NAME}: queued: worker host-a checks it",
    ]
    assert (code, err.splitlines()[-1]) == (2, f"arbctl: {NAME}: rejected: no")


def blocked(layout: SpoolLayout, live: Callable[..., None]) -> None:
    live("host-a", blocked={"mine": "python:samples:quick is not allowed on this host"})
    make_session(layout, 5, "mine")


def blocked_in_part(layout: SpoolLayout, live: Callable[..., None]) -> None:
    blocked(layout, live)
    live("host-b")


def finishing(layout: SpoolLayout, live: Callable[..., None], **about: Any) -> None:
    live("host-a", **about)
    paths = make_session(layout, 5, "mine", results=ResultOptions())
    write_rows(paths, "a", rows_of(1, 5))
    exhaust(paths, 5)


def failing(layout: SpoolLayout, live: Callable[..., None]) -> None:
    finishing(layout, live, finishing={"mine": "OSError: no space left on device"})


def deserted(layout: SpoolLayout, live: Callable[..., None]) -> None:
    make_session(layout, 5, "mine")


SESSIONS = {
    "blocked": Case("blocked", "python:samples:quick is not allowed on this host", blocked),
    "blocked on one host": Case("pending", "python:samples:quick is not allowed on this host", blocked_in_part),
    "finishing": Case("finishing", "its results are being put together", finishing),
    "finishing for long": Case("finishing", "OSError: no space left on device", failing),
    "nobody lives": Case("pending", "no worker runs on this spool: start one with `arbd run`", deserted),
}


@pytest.mark.parametrize("case", SESSIONS.values(), ids=SESSIONS)
def test_every_command_says_why_a_session_does_not_go_on(
    case: Case, arbctl: Arbctl, layout: SpoolLayout, living: Callable[..., None]
) -> None:
    case.make(layout, living)
    for command in (("list",), ("status",), ("status", "mine"), ("watch", "--once"), ("watch", "mine", "--once")):
        code, out, err = arbctl(*command)
        assert code == 0
        assert case.state in out
        assert case.said in out + err
        document = json.loads(arbctl(*command, "--json")[1])
        (session,) = document.get("sessions", [document])
        assert (session["state"], case.said in session["reason"]) == (case.state, True)
    if case.make in (blocked, failing):
        out = arbctl("workers")[1]
        assert (case.said in out, "mine" in out) == (True, True)
    assert arbctl("cancel", "mine")[:2] == (0, "mine: cancelled\n")


def test_workers_say_what_they_refuse_and_what_they_check(
    arbctl: Arbctl, layout: SpoolLayout, living: Callable[..., None]
) -> None:
    refused_here(layout, living)
    second = layout.incoming / "second.yaml"
    second.write_bytes(JOB)
    second.rename(Held(1, Taker("host-b", 7), "20231114T221320-abcdef", second.name).path(layout))
    out = arbctl("workers")[1]
    assert f"host-a refuses {NAME}: python:samples:quick is not allowed on this host" in out
    assert "host-b checks second.yaml" in out
    documents = {d["worker_id"]: d for d in json.loads(arbctl("workers", "--json")[1])["workers"]}
    assert list(documents["host-a"]["refuses"]) == [NAME]
    assert documents["host-b"]["checks"] == ["second.yaml"]


def test_another_file_of_the_same_name_is_another_job(layout: SpoolLayout, living: Callable[..., None]) -> None:
    refused_here(layout, living)
    incoming(layout, JOB + b"metric: value\n")
    found = find_dropped(FILES, layout, NAME)
    assert found is not None
    assert found.refused_by == {}


def test_of_jobs_that_were_rejected_under_one_name_the_last_is_meant(layout: SpoolLayout) -> None:
    for number in range(12):
        assert reject(FILES, layout, incoming(layout), NAME, f"reason {number}") is not None
    found = find_dropped(FILES, layout, "grid")
    assert found is not None
    assert found.reason == "reason 11"


@pytest.mark.parametrize(
    ("text", "session_id"),
    [("session_id: a-1", "a-1"), ("session_id: 'a.b' # mine", "a.b"), ("x: 1\nsession_id: \"q\"\n", "q"),
     ("session_id: two words", ""), (" session_id: nested", ""), ("", "")],
)  # fmt: skip
def test_the_session_that_a_job_names_is_known_before_it_is_taken_up(text: str, session_id: str) -> None:
    assert dropped._id_in(text.encode()) == session_id


# -- with real daemons


def settings(tmp_path: Path, name: str, allow: str) -> Path:
    path = tmp_path / f"{name}.yaml"
    path.write_text(
        (tmp_path / "arbd.yaml").read_text().replace("allow: [paper, 'python:*', 'command:*']", f"allow: [{allow}]")
    )
    return path


def test_a_job_that_one_host_refuses_waits_for_another_and_is_rejected_when_none_is_left(
    arbctl: Arbctl, daemons: Daemons, layout: SpoolLayout, tmp_path: Path, living: Callable[..., None]
) -> None:
    living("host-b")
    allowed, daemons.config = daemons.config, settings(tmp_path, "narrow", "paper")
    daemons.start("host-a", slots=1)
    wait_until(lambda: "host-a" in arbctl("workers")[1], what="the daemon")
    job = write_job(tmp_path / "job.yaml", "samples:quick", 3)
    assert arbctl("submit", job, "--session-id", "mine")[0] == 0

    def document() -> dict[str, Any]:
        code, out, _ = arbctl("status", "mine", "--json")
        found: dict[str, Any] = json.loads(out) if code == 0 else {}
        return found

    wait_until(lambda: document().get("refused_by"), what="a refusal")
    assert (document()["state"], document()["job"]) == ("queued", f"mine{SUBMITTED_SUFFIX}")
    assert "the objective python:samples:quick is not allowed on this host" in document()["refused_by"]["host-a"]
    assert "waits for host-b, which may take it" in document()["reason"]
    daemons.config = allowed
    daemons.start("host-c", slots=1)
    wait_until(lambda: document().get("state") == "done", what="the session")
    assert [name for name, counts in document()["workers"].items() if counts["done"]] == ["host-c"]
    wait_until(lambda: not list(layout.refusals.iterdir()), what="the end of what was said of it")


def test_a_job_that_every_host_refuses_is_rejected_with_what_each_of_them_says(
    arbctl: Arbctl, daemons: Daemons, layout: SpoolLayout, tmp_path: Path
) -> None:
    for name, allow in (("host-a", "paper"), ("host-b", "'command:*'")):
        daemons.config = settings(tmp_path, name, allow)
        daemons.start(name, slots=1)
    wait_until(lambda: all(name in arbctl("workers")[1] for name in ("host-a", "host-b")), what="two daemons")
    job = write_job(tmp_path / "job.yaml", "samples:quick", 3)
    code, _, err = arbctl("submit", job, "--session-id", "mine", "--wait")
    assert (code, "every worker that lives refuses it" in err) == (2, True)
    assert "host-a: " in err
    assert "(allowed: paper)" in err
    assert "host-b: " in err
    assert "(allowed: command:*)" in err
    assert json.loads(arbctl("status", "mine", "--json")[1])["state"] == "rejected"
    assert [*layout.incoming.glob("*.yaml")] == []
    wait_until(lambda: not list(layout.refusals.iterdir()), what="the end of what was said of it")


def test_what_a_reload_allows_is_taken_up(
    arbctl: Arbctl, daemons: Daemons, layout: SpoolLayout, tmp_path: Path, living: Callable[..., None]
) -> None:
    import signal

    living("host-b")
    allowed = daemons.config.read_text()
    daemons.config = settings(tmp_path, "narrow", "paper")
    daemon = daemons.start("host-a", slots=1)
    job = write_job(tmp_path / "job.yaml", "samples:quick", 3, session_id="mine")
    job.rename(layout.incoming / "grid.yaml")
    wait_until(lambda: "host-a refuses grid.yaml" in arbctl("workers")[1], what="a refusal")
    daemons.config.write_text(allowed)
    daemon.send_signal(signal.SIGHUP)
    wait_until(lambda: arbctl("status", "grid.yaml")[1].find("done") >= 0, what="the session by its file's name")
