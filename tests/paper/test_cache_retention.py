"""The cache of a host stays within its bound, says what it holds, and gives its space back."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import filelock
import numpy as np
import pytest

from arbd.paper import code_cache
from arbd.paper.market.cache import load_market, load_quotes
from arbd.paper.market.retention import cached, keep_within_bound, note_bound, remove, to_prune
from arbd.paper.market.synth import synth_profile
from arbd.paper.market.writers import write_quotes
from tests.conftest import Arbctl

HOUR = 3_600


def filled(tmp_path: Path, count: int, rows: int = 2_000) -> Path:
    """A cache with `count` entries, the first used longest ago."""
    folder = tmp_path / "cache"
    for number in range(count):
        write_quotes(synth_profile("brl", number, rows), tmp_path / f"q{number}.npz")
        load_market(tmp_path / f"q{number}.npz", folder)
    age(folder)
    return folder


def age(folder: Path) -> None:
    """As if all had been used hours ago, in the order in which they were."""
    for number, each in enumerate(cached(folder)):
        then = time.time() - (50 - number) * HOUR
        os.utime(each.path, (then, then))


def test_the_least_recently_used_go_until_the_rest_is_within_the_bound(tmp_path: Path) -> None:
    folder = filled(tmp_path, 4)
    entries = cached(folder)
    room = sum(each.size for each in entries[2:])
    assert remove(to_prune(entries, room, time.time())) == entries[:2]
    assert [each.name for each in cached(folder)] == [each.name for each in entries[2:]]
    assert to_prune(cached(folder), room, time.time()) == []


def test_what_was_used_within_the_hour_stays_and_using_is_noted(tmp_path: Path) -> None:
    folder = filled(tmp_path, 3)
    load_quotes(tmp_path / "q1.npz", folder)
    note_bound(folder, 0)
    gone = keep_within_bound(folder)
    assert len(gone) == 2
    (kept,) = cached(folder)
    assert kept.name not in {each.name for each in gone}
    assert np.array_equal(load_quotes(tmp_path / "q0.npz", folder).bid_a, synth_profile("brl", 0, 2_000).bid_a)


def test_whoever_adds_an_entry_keeps_to_the_bound(tmp_path: Path) -> None:
    folder = filled(tmp_path, 3)
    note_bound(folder, sum(each.size for each in cached(folder)))
    write_quotes(synth_profile("brl", 9, 2_000), tmp_path / "new.npz")
    load_market(tmp_path / "new.npz", folder)
    assert len(cached(folder)) == 3


def test_a_market_that_is_mapped_stays_readable_when_its_entry_goes(tmp_path: Path) -> None:
    folder = filled(tmp_path, 1)
    quotes, market = load_market(tmp_path / "q0.npz", folder)
    assert len(remove(cached(folder))) == 1
    assert np.array_equal(quotes.ask_b, synth_profile("brl", 0, 2_000).ask_b)
    assert np.isfinite(market.edge_ab).all()


def test_code_that_nobody_used_for_a_month_goes_and_using_it_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setattr(code_cache._PLACE, "below", tmp_path / "cache")
    code_cache._private.cache_clear()
    folders = [code_cache.trusted_cache(), *(tmp_path / "cache" / f"numba-{digit * 16}" for digit in "ab")]
    now_s = time.time()
    for folder, days in zip(folders, (40, 40, 20), strict=True):
        (folder / "a").mkdir(parents=True, exist_ok=True)
        (folder / "a" / "code.o").write_bytes(bytes(10_000))
        os.utime(folder, (now_s - days * 86_400, now_s - days * 86_400))
    code_cache._private.cache_clear()
    code_cache.trusted_cache()
    note_bound(tmp_path / "cache", 1e9)
    assert [each.path for each in keep_within_bound(tmp_path / "cache")] == [folders[1]]
    assert {each.path: each.size >= 10_000 for each in cached(tmp_path / "cache")} == {
        folders[0]: True,
        folders[2]: True,
    }


def test_what_is_being_built_and_what_is_none_of_the_cache_stays(tmp_path: Path) -> None:
    folder = filled(tmp_path, 1)
    (entry,) = cached(folder)
    for name in ("mine", "notes.txt", "0123-8-refuse"):
        (folder / name).mkdir()
    with filelock.FileLock(folder / f".{entry.name}.lock"):
        assert remove([entry]) == []
    assert {each.name for each in cached(folder)} == {entry.name}


@pytest.mark.parametrize("name", ["{}.csv-7-refuse", "{}.parquet-7-drop-market", ".{}.npz-8-refuse.0a1b2c3d.new"])
def test_what_other_versions_and_crashes_left_goes_first(tmp_path: Path, name: str) -> None:
    folder = filled(tmp_path, 1)
    old = folder / name.format("ab" * 20)
    old.mkdir()
    (old / "book.npy").write_bytes(b"x" * 10_000)
    os.utime(old, (time.time() - 3 * HOUR,) * 2)
    assert [each.path for each in to_prune(cached(folder), 1e12, time.time())] == [old]
    assert len(remove(to_prune(cached(folder), 1e12, time.time()))) == 1
    assert len(cached(folder)) == 1


def test_the_command_shows_and_prunes(tmp_path: Path, arbctl: Arbctl) -> None:
    folder = filled(tmp_path, 2)
    (tmp_path / "arbd.yaml").write_text(f"spool: {tmp_path}/spool\ncache_dir: {folder}\ncache_max_gb: 0.001\n")
    settings = ("--config", tmp_path / "arbd.yaml")
    code, out, err = arbctl(*settings, "cache", "show")
    assert (code, err) == (0, "")
    assert out.startswith(f"{folder}: 0.00 GB, at most 0.001 GB\n") and out.count("data") == 2
    shown = json.loads(arbctl(*settings, "cache", "show", "--json")[1])
    assert [entry["current"] for entry in shown["entries"]] == [True, True]
    assert arbctl(*settings, "cache", "prune")[1] == "nothing to remove\n"
    code, out, _ = arbctl(*settings, "cache", "prune", "--max-gb", "0")
    assert "would be removed (with --yes)" in out and len(cached(folder)) == 2
    assert len(json.loads(arbctl(*settings, "cache", "prune", "--unused-days", "2", "--json")[1])["entries"]) == 2
    code, out, _ = arbctl(*settings, "cache", "prune", "--max-gb", "0", "--yes")
    assert "MB removed" in out and cached(folder) == []


def test_a_cache_that_is_not_there_is_empty(tmp_path: Path, arbctl: Arbctl) -> None:
    (tmp_path / "arbd.yaml").write_text(f"spool: {tmp_path}/spool\ncache_dir: {tmp_path}/none\n")
    assert "none: 0.00 GB" in arbctl("--config", tmp_path / "arbd.yaml", "cache", "show")[1]
