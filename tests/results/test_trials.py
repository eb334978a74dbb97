"""Trials on the same data are counted over all sessions, and purging one makes none of them undone."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import msgpack
import pytest

from arbd.job.spec import Execution, ObjectiveSpec, ResultOptions, Terms
from arbd.job.stored import read_spec
from arbd.job.validation import FoldWindows, ValidationSpec
from arbd.results.compaction import compact
from arbd.results.trials import (
    NO_MATTER_FIRST,
    TrialsOnData,
    data_digests,
    keep_records,
    records_of,
    trials_on_data,
    windows_of,
)
from arbd.spool.files import Files
from arbd.spool.frames import encode_frame
from arbd.spool.layout import SpoolLayout
from arbd.spool.queue import SessionQueue, Worker
from arbd.spool.session_index import make_anew
from arbd.spool.spans import Finish
from tests.conftest import Arbctl
from tests.spool.sessions import exhaust, make_session, rows_of, spec_of, write_rows

DATA = {"data": ("/d/quotes.parquet",), "digests": {"/d/quotes.parquet": "a" * 64}}


def _finished(layout: SpoolLayout, name: str, n: int, **changed: object) -> None:
    paths = make_session(layout, n, name, **{**DATA, **changed})
    write_rows(paths, "w", rows_of(1, n))
    exhaust(paths, n, (n, 0, 0, 0))
    compact(Files(), paths)


def _counted(layout: SpoolLayout, name: str) -> TrialsOnData:
    files = layout.files()
    return trials_on_data(files, layout, name, read_spec(files, layout.session(name)))


def test_searches_of_other_seeds_spaces_and_methods_add_up(layout: SpoolLayout) -> None:
    _finished(layout, "one", 20)
    assert _counted(layout, "one") == TrialsOnData(20, 1)
    _finished(layout, "two", 30, seed=2)
    _finished(layout, "three", 5, method="sobol")
    assert {name: _counted(layout, name) for name in ("one", "two", "three")} == dict.fromkeys(
        ("one", "two", "three"), TrialsOnData(55, 3)
    )


def test_the_same_search_under_another_id_is_no_new_trial(layout: SpoolLayout) -> None:
    _finished(layout, "one", 20)
    _finished(layout, "again", 30)
    assert _counted(layout, "one") == TrialsOnData(30, 1)


@pytest.mark.parametrize("ran", [20, 35, 50])
def test_a_session_that_was_extended_counts_as_far_as_it_came(layout: SpoolLayout, arbctl: Arbctl, ran: int) -> None:
    _finished(layout, "one", 20)
    _finished(layout, "two", 30, seed=2)
    assert arbctl("extend", "one", "--iterations", "30")[0] == 0
    paths, files = layout.session("one"), Files()
    keep_records(files, layout, records_of("one", read_spec(files, paths), ran))
    assert _counted(layout, "two") == TrialsOnData(ran + 30, 2)
    # The same job without an extension is the same search.
    _finished(layout, "whole", 50)
    assert _counted(layout, "two") == TrialsOnData(80, 2)


def _go_on(layout: SpoolLayout, name: str, n: int) -> None:
    queue, worker = SessionQueue(Files(), layout.session(name)), Worker("b", 2, 1)
    (claim,) = queue.claim(worker, [], lambda state: (n, n), 3)
    queue.claim(worker, [Finish(claim.claim_id, (n, 0, 0, 0))], lambda state: (1, 0), 4)


@pytest.mark.parametrize("in_other_files", [False, True], ids=["the same files", "other files"])
@pytest.mark.parametrize("indexed", ["", "before", "after"], ids=["no index", "an old index", "an index"])
@pytest.mark.parametrize(
    ("ran", "end"), [(0, "runs"), (7, "runs"), (0, "is cancelled"), (7, "is cancelled"), (30, "is done")]
)
def test_a_search_that_goes_on_counts_as_far_as_it_came_and_not_as_its_record_says(
    layout: SpoolLayout, arbctl: Arbctl, ran: int, end: str, indexed: str, in_other_files: bool
) -> None:
    _finished(layout, "two", 30, seed=2, marks=_marked(10, 10))
    _finished(layout, "one", 20, **(_other_file(_marked(10, 10)) if in_other_files else {}))
    if indexed == "before":
        make_anew(Files(), layout)
    assert arbctl("extend", "one", "--iterations", "30")[0] == 0
    if ran:
        write_rows(layout.session("one"), "x", rows_of(21, ran))
        _go_on(layout, "one", ran)
    compact(Files(), layout.session("one"))
    if end == "is cancelled":
        assert arbctl("cancel", "one")[0] == 0
    if indexed == "after":
        make_anew(Files(), layout)
    if end != "runs" and indexed != "before":
        (layout.active / "one").unlink(missing_ok=True)
    assert _counted(layout, "two") == TrialsOnData(20 + ran + 30, 2)


@pytest.mark.parametrize("left", [(), ("over",)], ids=["names are taken away", "names are left"])
def test_jobs_and_ledgers_of_what_is_done_are_not_read(layout: SpoolLayout, left: tuple[str, ...]) -> None:
    """They may be gone, or in trouble: the records say all. Where the name of one is left, it is looked at again."""
    for seed, name in enumerate(("own", "over", "elsewhere")):
        _finished(layout, name, 10, **({} if name != "elsewhere" else _other_file(())), seed=seed)
    make_anew(Files(), layout)
    for name in {"over", "elsewhere"} - {*left}:
        (layout.active / name).unlink()
    read: list[Path] = []

    class Noted(Files):
        def read(self, path: Path, offset: int = 0, limit: int | None = None) -> bytes:
            read.append(path)
            return super().read(path, offset, limit)

    spec = read_spec(Files(), layout.session("own"))
    assert trials_on_data(Noted(), layout, "own", spec) == TrialsOnData(20, 2)
    assert {path.parent.name for path in read if path.name in ("ledger", "spec.msgpack")} == {"own", *left}


@pytest.mark.parametrize(
    "changed",
    [
        {"began_with": 10}, {"labels": {"desk": "fx"}}, {"terms": Terms(requires={"gpu": "1"})},
        {"execution": Execution(priority=3)}, {"results": ResultOptions(csv=True)},
    ],
    ids=lambda changed: next(iter(changed)),
)  # fmt: skip
@pytest.mark.parametrize("earlier", [False, True], ids=["now", "by an earlier version"])
def test_what_decides_no_trial_makes_no_other_search(
    layout: SpoolLayout, changed: dict[str, object], earlier: bool
) -> None:
    """Also where a session's own record was written by a version that took it for one."""
    _finished(layout, "one", 20, **changed)
    if earlier:
        for record in layout.trials.iterdir():
            record.unlink()
        spec = read_spec(Files(), layout.session("one"))
        keep_records(Files(), layout, records_of("one", spec, 20, NO_MATTER_FIRST))
    assert _counted(layout, "one") == TrialsOnData(20, 1)
    _finished(layout, "plain", 20)
    if not earlier:
        assert _counted(layout, "plain") == TrialsOnData(20, 1)


def test_searches_on_other_data_do_not_count(layout: SpoolLayout) -> None:
    _finished(layout, "one", 20)
    _finished(layout, "other", 30, digests={"/d/quotes.parquet": "b" * 64})
    _finished(
        layout, "both", 3, data=("/d/quotes.parquet", "/e"), digests={"/d/quotes.parquet": "a" * 64, "/e": "b" * 64}
    )
    assert _counted(layout, "one").trials == 23
    assert _counted(layout, "other").trials == 33
    assert _counted(layout, "both").trials == 53


@pytest.mark.parametrize("order", list(itertools.permutations(("one", "two", "three"))))
def test_purged_sessions_stay_counted_in_whatever_order_they_go(
    layout: SpoolLayout, arbctl: Arbctl, order: tuple[str, ...]
) -> None:
    for seed, name in enumerate(("one", "two", "three")):
        _finished(layout, name, 10 + seed, seed=seed)
    _finished(layout, "last", 1, seed=9)
    for name in order:
        assert arbctl("purge", name, "--results", "--claims", "--yes")[0] == 0
        assert _counted(layout, "last") == TrialsOnData(34, 4)


def test_a_cancelled_session_counts_as_far_as_it_came_and_once_more_when_done_again(
    layout: SpoolLayout, arbctl: Arbctl
) -> None:
    paths = make_session(layout, 20, "cut", **DATA)
    write_rows(paths, "w", rows_of(1, 20))
    exhaust(paths, 20, (20, 0, 0, 0))
    assert arbctl("cancel", "cut")[0] == 0
    _finished(layout, "last", 1, seed=9)
    assert _counted(layout, "last").trials == 21
    assert arbctl("purge", "cut", "--results", "--claims", "--yes")[0] == 0
    assert _counted(layout, "last").trials == 21
    _finished(layout, "cut", 20)
    assert _counted(layout, "last").trials == 21


def test_records_are_whole_files_that_nobody_changes(layout: SpoolLayout) -> None:
    _finished(layout, "one", 20)
    (record,) = layout.trials.iterdir()
    before = record.read_bytes()
    spec = read_spec(Files(), layout.session("one"))
    keep_records(Files(), layout, records_of("one", spec, 20))
    assert [(path, path.read_bytes()) for path in layout.trials.iterdir()] == [(record, before)]
    keep_records(Files(), layout, records_of("one", spec, 25))
    assert _counted(layout, "one").trials == 25
    assert record.read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"garbage", b"\0\0\0\4\0\0\0\0true"])
def test_a_damaged_record_keeps_no_session_from_being_judged(layout: SpoolLayout, content: bytes) -> None:
    _finished(layout, "one", 20)
    _finished(layout, "two", 30, seed=2)
    (layout.trials / "evil-0000000000000000-9.trials").write_bytes(content)
    (layout.trials / ".one.trials.tmp").write_bytes(content)
    assert _counted(layout, "one") == TrialsOnData(50, 2, unreadable=1)


def test_a_record_of_another_version_is_told_with_the_verdict(layout: SpoolLayout, arbctl: Arbctl) -> None:
    _finished(layout, "one", 20)
    later = encode_frame(msgpack.packb({"v": 99, "by": "9.9"}))
    (layout.trials / "later-0000000000000000-9.trials").write_bytes(later)
    assert _counted(layout, "one") == TrialsOnData(20, 1, unreadable=1)
    assert "1 records in" in arbctl("verdict", "one")[1]


def test_a_spool_of_an_earlier_version_counts_its_sessions(layout: SpoolLayout) -> None:
    _finished(layout, "one", 20)
    _finished(layout, "two", 30, seed=2)
    for record in layout.trials.iterdir():
        record.unlink()
    layout.trials.rmdir()
    assert _counted(layout, "one") == TrialsOnData(50, 2)


def test_jobs_without_data_are_counted_by_objective() -> None:
    """Whatever its code has become: the data that it reads may be the same."""
    one, same = spec_of(5), spec_of(9, seed=4)
    changed = spec_of(5, digests={"python:samples": "c" * 64})
    other = spec_of(5, objective=ObjectiveSpec("python", ("samples:slow",)))
    assert data_digests(one) == data_digests(same)
    assert data_digests(one) & data_digests(changed)
    assert not data_digests(one) & data_digests(other)


def test_a_link_in_place_of_the_folder_is_refused(layout: SpoolLayout, arbctl: Arbctl, tmp_path: Path) -> None:
    _finished(layout, "one", 5)
    outside = tmp_path / "outside"
    layout.trials.rename(outside)
    layout.trials.symlink_to(outside)
    code, _, err = arbctl("verdict", "one")
    assert code == 4
    assert "a link or no folder" in err


def _held_out(n: int, seen: tuple[int, int], held_out: tuple[int, int]) -> ValidationSpec:
    return ValidationSpec(n, "holdout", (FoldWindows(((seen,),), ((held_out,),)),), finalists=3)


def test_trials_are_counted_by_window_and_a_second_look_at_what_is_held_out_counts(layout: SpoolLayout) -> None:
    files = Files()
    whole = spec_of(20, seed=1)
    hides = spec_of(13, seed=2, generation_size=10, validation=_held_out(10, (0, 100), (120, 200)))
    again = spec_of(13, seed=3, generation_size=10, validation=_held_out(10, (0, 100), (120, 200)))
    keep_records(files, layout, records_of("first", hides, 13))
    assert trials_on_data(files, layout, "first", hides, (0, 100)).trials == 10
    # Three finalists were tested there.
    assert trials_on_data(files, layout, "first", hides, (120, 200)).trials == 3
    keep_records(files, layout, records_of("again", again, 13))
    assert trials_on_data(files, layout, "first", hides, (0, 100)).trials == 20
    assert trials_on_data(files, layout, "first", hides, (120, 200)).trials == 6
    # What held nothing out has seen everything.
    keep_records(files, layout, records_of("whole", whole, 20))
    assert trials_on_data(files, layout, "first", hides, (120, 200)).trials == 26
    assert trials_on_data(files, layout, "first", hides, (100, 120)).trials == 20


def test_before_its_finalists_ran_a_session_has_seen_nothing_of_what_it_holds_out(layout: SpoolLayout) -> None:
    hides = spec_of(13, generation_size=10, validation=_held_out(10, (0, 100), (120, 200)))
    assert [(record.trials, record.window) for record in records_of("s", hides, 9)] == [(9, (0, 100))]
    assert [(r.trials, r.window) for r in records_of("s", hides, 12)] == [(10, (0, 100)), (2, (120, 200))]


def _folds(n: int, *tests: tuple[int, int]) -> ValidationSpec:
    folds = tuple(FoldWindows((((0, test[0]),),), ((test,),)) for test in tests)
    return ValidationSpec(n, "walk_forward", (FoldWindows(()), *folds), finalists=1)


def test_searches_of_other_folds_of_the_same_job_are_other_trials(layout: SpoolLayout) -> None:
    files = Files()
    two = spec_of(32, generation_size=10, validation=_folds(10, (50, 60), (60, 70)))
    three = spec_of(43, generation_size=10, validation=_folds(10, (40, 50), (50, 60), (60, 70)))
    plain = spec_of(10, generation_size=10)
    for name, spec, n, on_data in (("two", two, 32, 30), ("three", three, 43, 60), ("plain", plain, 10, 60)):
        keep_records(files, layout, records_of(name, spec, n))
        assert trials_on_data(files, layout, name, spec).trials == on_data


def test_a_session_that_an_earlier_version_counted_as_one_search_counts_no_fold_twice(layout: SpoolLayout) -> None:
    files, spec = Files(), spec_of(32, generation_size=10, validation=_folds(10, (50, 60), (60, 70)))
    own, folds = records_of("s", spec, 32)
    assert (own.trials, folds.trials) == (10, 20)
    keep_records(files, layout, [replace(own, trials=30), own, folds])
    assert trials_on_data(files, layout, "s", spec).trials == 30


def _marked(first: int, count: int, of: str = "a") -> tuple[str, ...]:
    """Marks of a market of these moments, 100 apart."""
    return tuple(f"{100 * (first + at)}:{of * 12}" for at in range(count))


def _other_file(marks: tuple[str, ...], name: str = "b", **changed: object) -> dict[str, object]:
    return {"data": ("/e",), "digests": {"/e": name * 64}, "marks": marks, **changed}


OWN = {**DATA, "marks": _marked(10, 10)}


@pytest.mark.parametrize("purged", [False, True], ids=["kept", "purged"])
@pytest.mark.parametrize(
    ("marks", "counts"),
    [
        (_marked(10, 10), True), (_marked(15, 40), True), (_marked(1, 11), True), (_marked(19, 1), True),
        (_marked(10, 10, "c"), False), (_marked(30, 10), False), ((), False),
        ((*_marked(10, 4), *_marked(14, 6, "c")), False), ((*_marked(10, 5), *_marked(15, 5, "c")), True),
    ],
    ids=["all", "later", "earlier", "one moment", "other prices", "other time", "none", "less than half", "half"],
)  # fmt: skip
def test_trials_on_the_same_quotes_in_another_file_count(
    layout: SpoolLayout, arbctl: Arbctl, marks: tuple[str, ...], counts: bool, purged: bool
) -> None:
    _finished(layout, "one", 20, **OWN)
    _finished(layout, "other", 30, **_other_file(marks, seed=2))
    if purged:
        assert arbctl("purge", "other", "--results", "--claims", "--yes")[0] == 0
    assert _counted(layout, "one") == (TrialsOnData(50, 2) if counts else TrialsOnData(20, 1))


def test_a_running_search_of_the_same_quotes_in_another_file_counts_as_far_as_it_came(layout: SpoolLayout) -> None:
    _finished(layout, "one", 20, **OWN)
    exhaust(make_session(layout, 30, "other", **_other_file(_marked(10, 10), seed=2)), 7, (7, 0, 0, 0))
    assert _counted(layout, "one") == TrialsOnData(27, 2)


def test_the_same_sets_on_other_parts_of_a_market_are_no_more_sets(layout: SpoolLayout) -> None:
    _finished(layout, "monday", 20, **OWN)
    for day, name in enumerate(("tuesday", "wednesday", "thursday"), start=1):
        _finished(layout, name, 20, **_other_file(_marked(10 + day, 10), "bcd"[day - 1]))
    assert _counted(layout, "monday") == TrialsOnData(20, 1)
    # Of another search that goes on day after day, each set counts once.
    for day, name in enumerate(("a", "b"), start=1):
        _finished(layout, name, 30, **_other_file(_marked(10 + day, 10), "ef"[day - 1], seed=5))
    assert _counted(layout, "monday") == TrialsOnData(50, 2)


@pytest.mark.parametrize(("own", "elsewhere"), list(itertools.product([(5,), (20,), (5, 20)], [(5,), (30,), (30, 12)])))
@pytest.mark.parametrize("method", ["random", "tpe"])
def test_a_search_that_went_further_in_another_file_counts_as_if_it_had_done_so_in_this(
    layout: SpoolLayout, method: str, own: tuple[int, ...], elsewhere: tuple[int, ...]
) -> None:
    """Of a method that learns other data make other sets, and all of them count."""
    learns: dict[str, object] = (
        {"method": method, "generation_size": 5, "sampler_versions": {"optuna": "4"}} if method == "tpe" else {}
    )
    files = Files()
    here = [spec_of(n, **OWN, **learns) for n in own]
    there = [spec_of(n, **_other_file(_marked(10, 10), "bc"[i]), **learns) for i, n in enumerate(elsewhere)]
    for at, spec in enumerate((*here, *there)):
        keep_records(files, layout, records_of(f"s{at}", spec, spec.n))
    counted = trials_on_data(files, layout, "s0", here[0])
    if learns:
        assert counted == TrialsOnData(max(own) + sum(elsewhere), 1 + len(elsewhere))
    else:
        assert counted == TrialsOnData(max(*own, *elsewhere), 1)


@pytest.mark.parametrize(
    ("held_out", "looked"), [((1_500, 1_900), True), ((2_100, 2_300), False), ((1_990, 2_300), True)]
)
def test_who_saw_all_of_another_file_has_seen_what_that_has_of_a_window(
    layout: SpoolLayout, held_out: tuple[int, int], looked: bool
) -> None:
    """Within the distance of two moments, it counts as seen."""
    files = Files()
    hides = spec_of(
        13, generation_size=10, validation=_held_out(10, (1_000, 1_400), held_out), **{**OWN, "marks": _marked(10, 13)}
    )
    keep_records(files, layout, records_of("own", hides, 13))
    keep_records(files, layout, records_of("whole", spec_of(20, **_other_file(_marked(10, 10), seed=2)), 20))
    assert trials_on_data(files, layout, "own", hides, held_out).trials == (23 if looked else 3)
    assert trials_on_data(files, layout, "own", hides, (1_000, 1_400)).trials == 30


def test_the_same_search_without_a_holdout_in_another_file_has_looked_at_what_is_held_out(layout: SpoolLayout) -> None:
    files = Files()
    hides = spec_of(13, generation_size=10, validation=_held_out(10, (1_000, 1_400), (1_500, 1_900)), **OWN)
    keep_records(files, layout, records_of("own", hides, 13))
    keep_records(files, layout, records_of("whole", spec_of(10, **_other_file(_marked(10, 10))), 10))
    assert trials_on_data(files, layout, "own", hides, (1_500, 1_900)).trials == 13


@pytest.mark.parametrize("in_other_files", [False, True], ids=["the same files", "other files"])
@pytest.mark.parametrize("offset", [0, 150, 400], ids=["side by side", "one after the other, overlapping", "apart"])
def test_of_several_markets_what_is_searched_is_not_what_is_held_out_of_another(
    layout: SpoolLayout, offset: int, in_other_files: bool
) -> None:
    """Whatever their times: a job's own test is no trial on what it searched, and a second one like it is only one test more."""
    files = Files()
    windows = FoldWindows(
        (((0, 80),), ((offset, offset + 80),)), (((100, 120),), ((offset + 100, offset + 120),))
    )  # fmt: skip
    of = {**OWN, "marks": _marked(0, 6)}
    validation = ValidationSpec(10, "holdout", (windows,), finalists=3)
    own = spec_of(13, generation_size=10, validation=validation, **of)
    seen, held_out = windows_of(own)
    keep_records(files, layout, records_of("own", own, 13))
    assert (
        trials_on_data(files, layout, "own", own, seen).trials,
        trials_on_data(files, layout, "own", own, held_out).trials,
    ) == (10, 3)
    again = spec_of(
        13, seed=2, generation_size=10, validation=validation, **(_other_file(_marked(0, 6)) if in_other_files else of)
    )
    keep_records(files, layout, records_of("again", again, 13))
    assert (
        trials_on_data(files, layout, "own", own, seen).trials,
        trials_on_data(files, layout, "own", own, held_out).trials,
    ) == (20, 6)
