"""A chunk on a host that does not see the spool: data and code by digest, versions before all, rows as a slot makes them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import structs

from arbd.daemon.remote import evaluate
from arbd.daemon.remote.evaluate import AgentLostError, evaluate_chunk
from arbd.daemon.remote.session import HostRules, ShippedSession
from arbd.daemon.remote.wire import Answer, Outcome, decode_answer, decode_job, encode
from arbd.daemon.slots.protocol import ChunkTask, SubSpan
from arbd.results.columns import RowBatch, decode_rows
from arbd.results.segments import SegmentReader
from arbd.spool.files import Files
from arbd.spool.layout import SessionPaths, SpoolLayout
from arbd.spool.queue import Worker
from arbd.spool.spans import Claim, Span
from arbd.spool.system import SystemClock
from tests.conftest import wait_until
from tests.spool.sessions import make_session, rows_of

N = 6


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache of its own for the host that evaluates, whose agent ends with the test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "there"))
    monkeypatch.delenv("CACHE_DIRECTORY", raising=False)
    monkeypatch.setattr(evaluate, "_current", None)
    yield tmp_path / "there"
    if evaluate._current is not None:
        evaluate._current.end()


def opened(layout: SpoolLayout, paths: SessionPaths, *folders: Path) -> ShippedSession:
    rules = HostRules(("python:*", "paper"), None, folders)
    return ShippedSession(layout.files(), SystemClock(), paths.folder, "x1", Worker("w", 1, 4), rules)


def task_of(paths: SessionPaths, *spans: Span) -> ChunkTask:
    whole = Claim(1, Span(1, N), "w", 1)
    return ChunkTask(1, paths.folder, tuple(SubSpan(whole, span) for span in spans))


def asked(session: ShippedSession, task: ChunkTask) -> Answer:
    """What the host answers in the end, with the files that it wanted on the way."""
    job, chunk = session.job(), session.chunk(task)
    answer = decode_answer(evaluate_chunk(job, chunk))
    if answer.outcome is Outcome.MISSING:
        answer = decode_answer(evaluate_chunk(job, chunk, [(name, session.files_of(name)) for name in answer.wanted]))
    return answer


def written(paths: SessionPaths) -> list[RowBatch]:
    return [found.rows for found in SegmentReader(Files(), paths).poll()]


@pytest.mark.slow
def test_code_comes_once_and_rows_are_written_by_who_asked(layout: SpoolLayout, tmp_path: Path, host: Path) -> None:
    folder = tmp_path / "objectives"
    folder.mkdir()
    (folder / "samples.py").write_text(
        "def quick(params):\n    import near\n    return {'value': near.half(params['x'])}\n"
    )
    (folder / "near.py").write_text("def half(x):\n    return x / 2\n")
    paths = make_session(layout, N)
    session = opened(layout, paths, folder)
    task = task_of(paths, Span(1, 2), Span(4, 3))
    first = decode_answer(evaluate_chunk(session.job(), session.chunk(task)))
    assert first.outcome is Outcome.MISSING
    assert [name.partition(":")[0] for name in first.wanted] == ["code"]
    answer = asked(session, task)
    assert answer.outcome is Outcome.EVALUATED, answer
    assert written(paths) == []
    report = session.take(task, answer)
    session.sync()
    assert report.counts == {1: (5, 0, 0, 0)}
    rows = written(paths)
    assert sorted(i for batch in rows for i in batch.iteration.tolist()) == [1, 2, 4, 5, 6]
    assert all(np.array_equal(batch.metrics["value"], batch.params["x"] / 2) for batch in rows)
    # Both modules ran, and the session knows their digests now.
    assert {"python:samples", "python:near"} <= decode_job(session.job()).parts.keys()
    again = decode_answer(evaluate_chunk(session.job(), session.chunk(task_of(paths, Span(3, 1)))))
    assert again.outcome is Outcome.EVALUATED
    session.close()


READS = """
from pathlib import Path
def quick(params, trial):
    return {"value": float(Path(trial.data[0]).read_text()) * params["x"]}
"""


@pytest.mark.slow
def test_data_that_is_not_there_comes_by_its_digest_and_other_data_is_refused(
    layout: SpoolLayout, tmp_path: Path, host: Path
) -> None:
    data = tmp_path / "factor.csv"
    data.write_text("2.5")
    (tmp_path / "objectives").mkdir()
    (tmp_path / "objectives" / "samples.py").write_text(READS)
    paths = make_session(
        layout, N, data=(str(data),), digests={str(data): hashlib.sha256(data.read_bytes()).hexdigest()}
    )
    session, task = opened(layout, paths, tmp_path / "objectives"), task_of(paths, Span(1, N))
    in_place = asked(session, task)
    files = session.files_of(str(data))
    data.unlink()
    # A host that never saw the file: an agent forgets what it looked up when it ends.
    assert evaluate._current is not None
    evaluate._current.end()
    evaluate._current = None
    job, chunk = session.job(), session.chunk(task)
    assert decode_answer(evaluate_chunk(job, chunk)).wanted == (str(data),)
    wrong = decode_answer(evaluate_chunk(job, chunk, [(str(data), encode({"factor.csv": b"3.5"}))]))
    assert (wrong.outcome, "expected" in wrong.reason) == (Outcome.UNLOADABLE, True)
    sent = decode_answer(evaluate_chunk(job, chunk, [(str(data), files)]))
    assert sent.outcome is Outcome.EVALUATED, sent
    assert values(sent) == values(in_place)
    # It is there now, for every chunk that follows.
    assert decode_answer(evaluate_chunk(job, chunk)).outcome is Outcome.EVALUATED
    session.close()


def values(answer: Answer) -> list[Any]:
    return [{name: column.tolist() for name, column in decode_rows(rows).metrics.items()} for rows in answer.rows]


@pytest.mark.slow
def test_a_host_with_other_versions_evaluates_nothing_and_says_which(layout: SpoolLayout, host: Path) -> None:
    paths = make_session(layout, N)
    session = opened(layout, paths)
    job = decode_job(session.job())
    for part, name in (("numpy", "NumPy is"), ("python", "Python is"), ("arbd", "arbd's own code is")):
        other = structs.replace(job, base={**job.base, part: "0.0.1"})
        answer = decode_answer(evaluate_chunk(other.encoded, session.chunk(task_of(paths, Span(1, 1)))))
        assert answer.outcome is Outcome.UNFIT
        assert name in answer.reason
        assert "0.0.1 here" in answer.reason


@pytest.mark.slow
def test_a_chunk_whose_agent_is_killed_says_so_and_the_next_has_another(
    layout: SpoolLayout, tmp_path: Path, host: Path
) -> None:
    (tmp_path / "samples.py").write_text("import time\ndef quick(params):\n    time.sleep(60)\n")
    paths = make_session(layout, N)
    session = opened(layout, paths, tmp_path)
    job, task = session.job(), task_of(paths, Span(1, 1))
    (wanted,) = decode_answer(evaluate_chunk(job, session.chunk(task))).wanted
    first = evaluate._current
    assert first is not None
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(evaluate_chunk, job, session.chunk(task), [(wanted, session.files_of(wanted))])
        wait_until(lambda: first._waiting, what="the chunk")
        first._process.kill()
        with pytest.raises(AgentLostError, match="was killed"):
            future.result(timeout=60)
    assert decode_answer(
        evaluate_chunk(structs.replace(decode_job(job), base={"python": "0"}).encoded, b"")
    ).outcome is (Outcome.UNFIT)
    assert evaluate._current is not first


def answered(session: ShippedSession, *batches: RowBatch, **changed: Any) -> Answer:
    answer = Answer(Outcome.EVALUATED, "there", rows=tuple(rows.encode() for rows in batches))
    return structs.replace(answer, **{"parts": decode_job(session.job()).parts, **changed})


def test_rows_that_were_not_asked_for_stand_twice_or_are_missing_are_not_taken(
    layout: SpoolLayout, tmp_path: Path
) -> None:
    (tmp_path / "samples.py").write_text("def quick(params):\n    return {'value': 1.0}\n")
    paths = make_session(layout, N)
    session, task = opened(layout, paths, tmp_path), task_of(paths, Span(2, 3))
    for batches in (
        [rows_of(1, 3)],
        [rows_of(2, 4)],
        [rows_of(2, 2)],
        [rows_of(2, 3), rows_of(3, 1)],
        [rows_of(2, 3, epoch=1)],
    ):
        with pytest.raises(ValueError, match="rows of"):
            session.take(task, answered(session, *batches))
    assert written(paths) == []
    report = session.take(task, answered(session, rows_of(2, 1), left={1: (Span(3, 2),)}))
    assert (report.counts, report.left) == ({1: (1, 0, 0, 0)}, {1: (Span(3, 2),)})
    session.close()


def test_rows_of_other_code_are_not_taken_and_the_whole_task_is_given_back(layout: SpoolLayout, tmp_path: Path) -> None:
    (tmp_path / "samples.py").write_text("def quick(params):\n    return {'value': 1.0}\n")
    paths = make_session(layout, N)
    session, task = opened(layout, paths, tmp_path), task_of(paths, Span(1, N))
    session.take(task, answered(session, rows_of(1, N), parts={"python:near": "a" * 64}))
    report = session.take(task, answered(session, rows_of(1, N), parts={"python:near": "b" * 64}))
    assert "near" in report.code_changed
    assert (report.counts, report.left) == ({}, {1: (Span(1, N),)})
    session.close()
