"""JSON lines and msgpack by parts: the same bytes however many rows are values at a time, and never all of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from arbd.analysis import table
from arbd.analysis.export import export_session
from arbd.analysis.export_format import documents
from arbd.results.compaction import compact
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.ledger import FAILED
from tests.spool.sessions import exhaust, make_session, rows_of, write_rows


@pytest.mark.parametrize("compacted", [True, False])
@pytest.mark.parametrize("form", ["jsonl", "msgpack"])
def test_an_export_is_the_same_however_many_rows_are_values_at_a_time(
    layout: SpoolLayout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, compacted: bool
) -> None:
    paths = make_session(layout, 9)
    good = replace(rows_of(1, 6), blocks=np.arange(6 * 4 * 2, dtype=np.float64).reshape(6, 4, 2))
    failed = replace(rows_of(7, 3, status=FAILED), errors={7: "seven", 9: "nine"}, reports={8: ((1, 0.5), (2, 0.25))})
    write_rows(paths, "a", good, failed)
    exhaust(paths, 9, (6, 3, 0, 0))
    if compacted:
        compact(Files(), paths)
    found = set()
    for part_rows in (1, 2, 4_096):
        monkeypatch.setattr(table, "PART_ROWS", part_rows)
        output = tmp_path / f"{part_rows}.{form}"
        assert export_session(layout.root, paths.session_id, form, output) == 9
        found.add(output.read_bytes())
    (content,) = found
    for text in (b"seven", b"nine", b"reports") + ((b"blocks",) if form == "msgpack" else ()):
        assert text in content


def test_documents_of_a_session_never_hold_all_of_its_rows(layout: SpoolLayout) -> None:
    paths = make_session(layout, 5)
    write_rows(paths, "a", rows_of(1, 5))
    exhaust(paths, 5, (5, 0, 0, 0))
    compact(Files(), paths)
    loaded = table.load_table(layout.root, paths.session_id)
    assert [document["iteration"] for document in documents(loaded)] == [1, 2, 3, 4, 5]
    assert "rows" not in vars(loaded)
