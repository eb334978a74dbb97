"""Results by column: `origin` only where it is used, and a file of another host that is not believed."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgpack
import numpy as np
import pytest

from arbd.errors import CorruptionError, UnsafePathError
from arbd.results.columns import RowRules
from arbd.results.compaction import compact
from arbd.results.store_reader import StoredResults, read_results
from arbd.spool.files import Files
from arbd.spool.layout import SessionPaths, SpoolLayout
from arbd.spool.ledger import FAILED
from tests.spool.hostile_results import put, read_index, with_column, with_errors, with_index
from tests.spool.sessions import exhaust, make_session, rows_of, spec_of, write_rows

FILES = Files()
RULES = RowRules.of(spec_of(6))


@pytest.fixture
def paths(layout: SpoolLayout) -> SessionPaths:
    made = make_session(layout, 6)
    write_rows(made, "a", rows_of(1, 4, blocks=True), rows_of(5, 2, status=FAILED))
    exhaust(made, 6, (4, 2, 0, 0))
    compact(FILES, made)
    return made


def test_who_shares_a_result_and_who_was_not_run_is_kept_and_costs_nothing_where_unused(layout: SpoolLayout) -> None:
    made = make_session(layout, 6)
    origin = np.array([0, 0, -1, 1, 0, 2])
    write_rows(made, "a", replace(rows_of(1, 6), origin=origin))
    exhaust(made, 6)
    compact(FILES, made)
    stored = StoredResults(FILES, made, RULES)
    found = stored.origin()
    assert found is not None
    assert found.tolist() == origin.tolist()
    (group,) = stored.groups()
    assert group.rows.origins.tolist() == origin.tolist()
    plain = make_session(layout, 6, "plain")
    write_rows(plain, "a", replace(rows_of(1, 6), origin=np.zeros(6, dtype=np.int64)))
    exhaust(plain, 6)
    compact(FILES, plain)
    assert StoredResults(FILES, plain, RULES).origin() is None
    assert "origin" not in read_index(plain.results.read_bytes())[0]["groups"][0]["at"]


def _set(*way: Any) -> Callable[[dict[str, Any]], None]:
    def change(index: dict[str, Any]) -> None:
        target: Any = index
        for step in way[:-2]:
            target = target[step]
        target[way[-2]] = way[-1]

    return change


AT = ("groups", 0, "at")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda index: [index], "the index is a list of 1, expected a map"),
        (_set("rows", 2**70 // 2**10), "it contradicts itself"),
        (_set("rows", "6"), "rows is '6'"),
        (_set("counts", [6, 0, 0, 1]), "it contradicts itself"),
        (_set("counts", [6]), "counts is a list of 1, expected a list of length 4"),
        (
            _set("workers", ["../../etc"]),
            "workers[0] is '../../etc', expected a name that a file in the spool can have",
        ),
        (_set("shares", [5]), "it contradicts itself"),
        (_set("groups", 0, "n", 2**40), "groups[0].rows is 1099511627776"),
        (_set("groups", 0, "n", 5), "a column of 48 bytes among 5 rows"),
        (_set(*AT, "status", ["<f8", 0, 10**12]), "a place is 1000000000000"),
        (_set(*AT, "status", ["<f8", 0]), "expected a list of length >= 3"),
        (_set(*AT, "status", ["<f8", 100, 3]), "a place of no content"),
        (_set(*AT, "m:value", ["O", 100, 56]), "a column 'm:value' of type 'O'"),
        (_set(*AT, "unknown", ["<f8", 100, 56]), "a column 'unknown' of type '<f8'"),
        (_set(*AT, "m:" + "a" * 500, ["<f8", 100, 56]), "a column 'm:aaa"),
        (_set(*AT, "blocks", ["9" * 40, 100, 56]), "expected a string of length <= 20"),
        (_set(*AT, "blocks", ["²", 100, 56]), "'\\xb2' blocks"),
        (lambda index: index["groups"][0]["at"].pop("status") and None, "a group without status"),
        (lambda index: index["groups"][0]["at"].pop("p:x") and None, "other parameters than the session's"),
        (lambda index: index["groups"].append(index["groups"][0]), "it contradicts itself"),
        (
            lambda index: index["groups"][0]["at"].update(
                {f"m:{i}": index["groups"][0]["at"]["m:value"] for i in range(1001)}
            ),
            "it contradicts itself",
        ),
    ],
)
def test_an_index_that_lies_is_told_with_its_place(
    paths: SessionPaths, change: Callable[[dict[str, Any]], Any], told: str
) -> None:
    data = paths.results.read_bytes()
    put(paths.results, with_index(data, change))
    place = read_index(data)[1]
    with pytest.raises(CorruptionError, match=re.escape(told)) as error:
        StoredResults(FILES, paths, RULES)
    assert f"results.msgpack, byte {place}: " in str(error.value)
    assert "makes it anew from its segments" in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("iteration", np.array([1, 2, 3, 4, 6, 5], "<i8"), "iterations that"),
        ("iteration", np.array([1, 2, 3, 4, 5, 7], "<i8"), "iteration"),
        ("iteration", np.array([0, 1, 2, 3, 4, 5], "<i8"), "iterations that"),
        ("status", np.array([0, 0, 0, 0, 9, 9], "|u1"), "a status 9"),
        ("status", np.array([0, 0, 0, 0, 0, 0], "|u1"), "its index counts other rows than there are"),
        ("attempt", np.array([1, 1, 1, -1, 1, 1], "<i4"), "a negative"),
        ("worker", np.array([0, 0, 0, 0, 0, 3], "<i4"), "workers that the index does not name"),
        ("worker", np.array([0, 0, 0, 0, 0, -1], "<i4"), "workers that the index does not name"),
        ("p:kind", np.array([0, 1, 0, 1, 0, 2], "<i8"), "values of 'kind' that are none of its choices"),
    ],
)
def test_rows_that_are_not_the_sessions_are_told_by_whatever_reads_them(
    paths: SessionPaths, name: str, content: Any, told: str
) -> None:
    put(paths.results, with_column(paths.results.read_bytes(), name, content.tobytes()))
    with pytest.raises(CorruptionError, match=re.escape(told)):
        list(read_results(FILES, paths, rules=RULES))
    if told.startswith("its index"):
        return
    stored = StoredResults(FILES, paths, RULES)
    with pytest.raises(CorruptionError, match="`arbctl repair "):
        stored.param(name[2:]) if name.startswith("p:") else stored.worker() if name == "worker" else stored.fixed(name)


@pytest.mark.parametrize("plain", [[1], {"5": "broken"}, {5: 6}, {-1: "x"}])
def test_errors_that_are_none_are_told(paths: SessionPaths, plain: Any) -> None:
    put(paths.results, with_errors(paths.results.read_bytes(), bytes(msgpack.packb(plain))))
    with pytest.raises(CorruptionError, match="`arbctl repair "):
        list(read_results(FILES, paths, rules=RULES))


def test_a_link_in_place_of_the_results_is_not_followed(layout: SpoolLayout, paths: SessionPaths) -> None:
    elsewhere = layout.root.parent / "elsewhere"
    paths.results.rename(elsewhere)
    paths.results.symlink_to(elsewhere)
    with pytest.raises(UnsafePathError):
        StoredResults(layout.files(), paths, RULES)
