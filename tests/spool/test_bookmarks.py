"""A reader's bookmark in a ledger: the same state as folding it whole, and never that of another ledger."""

from __future__ import annotations

from pathlib import Path

import pytest

from arbd.spool import bookmarks, ledger
from arbd.spool.bookmarks import from_plain, read_state, to_plain
from arbd.spool.files import Files
from arbd.spool.frames import encode_frame
from arbd.spool.layout import SessionPaths, SpoolLayout
from arbd.spool.ledger_records import LedgerRecord
from arbd.spool.queue import SessionQueue
from arbd.spool.spans import Claim, Finish, Span
from tests.spool.sessions import make_session

FILES = Files()


def grow(paths: SessionPaths, first: int, last: int) -> None:
    records = []
    for i in range(first, last):
        records.append(ledger.claimed([Claim(i, Span(i, 1), f"w{i % 3}", i % 3 + 1)], 4, i))
        if i % 7 == 0:
            records.append(ledger.revoked(i % 3 + 1, "gone"))
        elif i > 5:
            back = (Span(i - 2, 1, 0, 2, "w1"),) if i % 5 == 0 else ()
            records.append(ledger.finished((i - 2) % 3 + 1, [Finish(i - 2, (0 if back else 1, 0, 0, 0), back)], i))
    FILES.append(paths.ledger, b"".join(encode_frame(ledger.pack(record)) for record in records))


@pytest.fixture
def folded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The kind of every record that is folded."""
    kinds: list[str] = []
    fold = ledger.LedgerState.fold

    def spy(self: ledger.LedgerState, record: LedgerRecord) -> None:
        kinds.append(str(record.__struct_config__.tag))
        fold(self, record)

    monkeypatch.setattr(ledger.LedgerState, "fold", spy)
    monkeypatch.setattr(bookmarks, "WORTH_BYTES", 1000)
    return kinds


def whole(paths: SessionPaths) -> dict[str, object]:
    return to_plain(SessionQueue(FILES, paths).refresh())


def test_a_state_survives_its_bookmark_at_every_length(layout: SpoolLayout) -> None:
    paths = make_session(layout, 100)
    for i in range(1, 60):
        grow(paths, i, i + 1)
        state = SessionQueue(FILES, paths).refresh()
        assert from_plain(to_plain(state)) == state


def test_only_what_is_new_is_folded_and_the_state_is_the_same(
    layout: SpoolLayout, tmp_path: Path, folded: list[str]
) -> None:
    paths = make_session(layout, 500)
    grow(paths, 1, 200)
    assert to_plain(read_state(FILES, paths, tmp_path)) == whole(paths)
    grow(paths, 200, 203)
    folded.clear()
    state = read_state(FILES, paths, tmp_path)
    assert len(folded) < 10
    assert to_plain(state) == whole(paths)


def test_a_ledger_that_was_written_over_or_replaced_is_folded_anew(
    layout: SpoolLayout, tmp_path: Path, folded: list[str]
) -> None:
    paths = make_session(layout, 500)
    grow(paths, 1, 200)
    read_state(FILES, paths, tmp_path)
    data = bytearray(paths.ledger.read_bytes())
    data[500] ^= 1
    paths.ledger.write_bytes(bytes(data))
    folded.clear()
    assert to_plain(read_state(FILES, paths, tmp_path)) == whole(paths)
    assert len(folded) > 300
    paths.ledger.write_bytes(encode_frame(ledger.pack(ledger.opened(3))) + bytes(2000))
    assert read_state(FILES, paths, tmp_path).n == 3


def test_a_damaged_or_foreign_bookmark_and_a_folder_that_cannot_be_are_ignored(
    layout: SpoolLayout, tmp_path: Path, folded: list[str]
) -> None:
    paths = make_session(layout, 500)
    grow(paths, 1, 200)
    read_state(FILES, paths, tmp_path / "marks")
    (mark,) = (tmp_path / "marks").iterdir()
    for content in (b"", b"\x00" * 50, mark.read_bytes()[:-3], encode_frame(b"\x93\x01\x02\x03")):
        mark.write_bytes(content)
        assert to_plain(read_state(FILES, paths, tmp_path / "marks")) == whole(paths)
    (tmp_path / "file").write_text("")
    assert to_plain(read_state(FILES, paths, tmp_path / "file")) == whole(paths)
