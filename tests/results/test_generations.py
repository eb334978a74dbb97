"""Generations in the spool: published once, whole, the same by whoever computes them."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest

from arbd import schema
from arbd.daemon.side import suggester
from arbd.errors import CorruptionError
from arbd.job.stored import read_spec
from arbd.results.columns import RowBatch
from arbd.results.generations import PublishedPlan, generation_name, published_up_to, read_generation
from arbd.results.suggester import Suggester
from arbd.search.phases import Layout
from arbd.search.plan import PlannedRows
from arbd.search.schedule import Schedule
from arbd.search.versions import sampler_versions
from arbd.spool.files import Files
from arbd.spool.frames import encode_frame
from arbd.spool.layout import SessionPaths, SpoolLayout
from arbd.spool.spans import Span
from arbd.spool.system import RealSystem, SystemClock
from tests.spool.sessions import make_session, write_rows

SIZE = 4


def guided(layout: SpoolLayout, name: str = "s", **changed: Any) -> SessionPaths:
    given = {"method": "tpe", "generation_size": SIZE, "sampler_versions": sampler_versions("tpe")} | changed
    return make_session(layout, 24, name, **given)


def results_of(rows: PlannedRows, first: int, *, status: int = 0, epoch: int = 0, shift: float = 0.0) -> RowBatch:
    n = len(rows)
    iteration = np.arange(first, first + n, dtype=np.int64)
    return RowBatch(
        iteration=iteration,
        status=np.full(n, status, dtype=np.uint8),
        ended_ns=np.zeros(n, dtype=np.int64),
        duration_s=np.zeros(n),
        attempt=np.ones(n, dtype=np.int32),
        epoch=np.full(n, epoch, dtype=np.int32),
        params=rows.columns,
        metrics={} if status else {"value": rows.columns["x"] + shift},
    )


def evaluate(paths: SessionPaths, number: int, worker: str = "a", **changed: Any) -> None:
    generation = read_generation(Files(), paths, number)
    write_rows(paths, worker, results_of(generation.rows, generation.first, **changed), slot=f"0.{number}")


def content(paths: SessionPaths, number: int) -> bytes:
    return (paths.generations / generation_name(number)).read_bytes()


def test_every_worker_publishes_the_same_bytes(layout: SpoolLayout) -> None:
    one, other = guided(layout, "one"), guided(layout, "other")
    steady = Suggester(Files(), one)
    for number in range(1, 7):
        assert steady.suggest(number).published
        # This one starts anew each time, and reads everything again.
        assert Suggester(Files(), other).suggest(number).published
        assert content(one, number) == content(other, number)
        evaluate(one, number)
        evaluate(other, number, worker="b")
    assert published_up_to(Files(), one) == 6


def test_the_first_writer_wins(layout: SpoolLayout) -> None:
    paths = guided(layout)
    Suggester(Files(), paths).suggest(1)
    before = content(paths, 1)
    path = paths.generations / generation_name(1)
    assert not Files().publish_once(path, b"other")
    assert Suggester(Files(), paths).suggest(1).published
    assert content(paths, 1) == before
    assert [name for name in Files().names(paths.generations) if name.startswith(".")] == []


def test_a_generation_after_the_last_is_not_made_of_an_old_copy_of_the_job_which_is_read_anew(
    layout: SpoolLayout,
) -> None:
    paths = guided(layout)
    for number in range(1, 7):
        assert suggester._suggest(paths.folder, number, False).published
        evaluate(paths, number)
    with pytest.raises(OSError, match="is not shown as it was extended") as caught:
        suggester._suggest(paths.folder, 7, False)
    assert caught.value.errno == errno.ESTALE
    assert paths.folder not in suggester._sessions
    spec = read_spec(Files(), paths)
    Files().publish(paths.spec, encode_frame(msgpack.packb({**schema.JOB.stamp(), **replace(spec, n=28).to_plain()})))
    assert suggester._suggest(paths.folder, 7, False).published
    assert read_generation(Files(), paths, 7).first == 25


class WithoutLinks(RealSystem):
    def link(self, source: Path, target: Path) -> None:
        raise OSError(errno.EPERM, "no hard links here")


def test_a_filesystem_without_hard_links_will_do(layout: SpoolLayout) -> None:
    paths = guided(layout)
    files = Files(WithoutLinks())
    assert Suggester(files, paths).suggest(1).published
    before = content(paths, 1)
    assert not files.publish_once(paths.generations / generation_name(1), b"other")
    assert content(paths, 1) == before


def test_while_another_worker_is_at_it_it_is_left_to_it_unless_that_takes_too_long(layout: SpoolLayout) -> None:
    paths = guided(layout)
    held = Files().try_lock(paths.generations_lock)
    assert held is not None
    assert Suggester(Files(), paths).suggest(1).busy
    assert published_up_to(Files(), paths) == 0
    assert Suggester(Files(), paths).suggest(1, urgent=True).published
    held.release()


def test_a_host_with_other_libraries_says_so_and_leaves_others_the_first_go(layout: SpoolLayout) -> None:
    paths = guided(layout, sampler_versions={**sampler_versions("tpe"), "numpy": "1.0.0"})
    outcome = Suggester(Files(), paths).suggest(1)
    assert (outcome.published, published_up_to(Files(), paths)) == (False, 0)
    assert outcome.other_versions == f"numpy {np.__version__} instead of 1.0.0"
    assert Suggester(Files(), paths).suggest(1, urgent=True).published
    assert read_generation(Files(), paths, 1).versions["numpy"] == np.__version__


def test_recorded_iterations_whose_rows_cannot_be_read_are_named(layout: SpoolLayout) -> None:
    paths = guided(layout)
    suggester = Suggester(Files(), paths)
    suggester.suggest(1)
    suggester.suggest(2)
    assert suggester.suggest(3).missing == (Span(1, SIZE),)
    evaluate(paths, 1)
    assert suggester.suggest(3).published


def test_of_several_rows_of_an_iteration_the_one_that_results_show_is_learnt_from(layout: SpoolLayout) -> None:
    one, other = guided(layout, "one"), guided(layout, "other")
    for paths in (one, other):
        Suggester(Files(), paths).suggest(1)
        Suggester(Files(), paths).suggest(2)
    evaluate(one, 1, epoch=1)
    evaluate(other, 1, "z", epoch=1)
    evaluate(other, 1, "a", epoch=0, shift=9.0)
    evaluate(other, 1, "b", epoch=1, status=3)
    for paths in (one, other):
        assert Suggester(Files(), paths).suggest(3).published
    assert content(one, 3) == content(other, 3)


def test_rows_that_are_none_of_the_session_are_not_learnt_from_and_told_as_damage(layout: SpoolLayout) -> None:
    one, other = guided(layout, "one"), guided(layout, "other")
    for paths in (one, other):
        Suggester(Files(), paths).suggest(1)
        Suggester(Files(), paths).suggest(2)
        evaluate(paths, 1)
    rows = read_generation(Files(), other, 1).rows
    foreign = replace(results_of(rows, 1, epoch=9), params={"zzz": np.ones(len(rows))})
    write_rows(other, "evil", foreign, results_of(rows, 23, epoch=9))
    assert Suggester(Files(), one).suggest(3).damage == ()
    outcome = Suggester(Files(), other).suggest(3)
    assert outcome.published
    assert len(outcome.damage) == 2
    assert content(one, 3) == content(other, 3)


def test_a_plan_reads_across_generations_and_waits_for_a_name_that_is_late(layout: SpoolLayout) -> None:
    paths = guided(layout)
    suggester = Suggester(Files(), paths)
    suggester.suggest(1)
    suggester.suggest(2)
    hidden = paths.generations / "late"
    (paths.generations / generation_name(2)).rename(hidden)

    class Clock(SystemClock):
        def sleep(self, seconds: float) -> None:
            hidden.rename(paths.generations / generation_name(2))

    rows = PublishedPlan(Files(), Clock(), paths, Layout.plain(100, Schedule(SIZE))).rows(3, 4)
    expected = [read_generation(Files(), paths, n).rows.columns["x"].tolist() for n in (1, 2)]
    assert rows.columns["x"].tolist() == expected[0][2:] + expected[1][:2]


@pytest.mark.parametrize("data", [b"", b"nonsense", encode_frame(b"\x81\xa1v\x01"), encode_frame(b"\xc1")])
def test_a_damaged_generation_is_told_with_its_file(layout: SpoolLayout, data: bytes) -> None:
    paths = guided(layout)
    Files().publish(paths.generations / generation_name(1), data)
    with pytest.raises(CorruptionError, match=r"000001\.gen"):
        read_generation(Files(), paths, 1)


def test_only_generations_without_a_gap_count_as_published(layout: SpoolLayout) -> None:
    paths = guided(layout)
    for number in (1, 2, 4):
        Files().publish(paths.generations / generation_name(number), b"x")
    assert published_up_to(Files(), paths) == 2
