"""Market data that takes long to read: whoever reads tells that it goes on, and whoever waits sees it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import filelock
import numpy as np
import pytest

from arbd.errors import UsageError
from arbd.named_file import MAX_DATA_BYTES, ReadRule, open_named
from arbd.paper.market import cache
from arbd.paper.market.cache import load_days, load_market, obtain
from arbd.paper.market.days import DayFiles
from arbd.paper.market.readers import SUFFIXES
from arbd.paper.market.synth import synth_profile
from arbd.paper.market.writers import write_quotes

PATIENCE_S = 60.0


class Told:
    """Counts what is told."""

    def __init__(self) -> None:
        self.steps = 0
        self.waiting: list[bool] = []

    def advanced(self) -> None:
        self.steps += 1

    def waits(self, begins: bool) -> None:
        self.waiting.append(begins)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_hashing_copying_and_converting_tell_that_they_go_on(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"q{suffix}"
    write_quotes(synth_profile("brl", 1, 2_000), path)
    told = Told()
    with open_named(path, MAX_DATA_BYTES, ReadRule(None, told)) as file:
        file.digest()
        assert told.steps == 1
        with file.copy(None) as copy:
            assert told.steps == 2
            copy.digest()
            assert told.steps == 3
        load_market(file, tmp_path / "cache")
    # Hashed, copied, the copy hashed, and at least one piece of it.
    assert told.steps >= 7
    assert told.waiting == []


def test_days_tell_it_of_each_file(tmp_path: Path) -> None:
    quotes = synth_profile("brl", 1, 2_000)
    for day, later_ns in (("2025-01-01", 0), ("2025-01-02", 10**15)):
        write_quotes(replace(quotes, ts_ns=quotes.ts_ns + later_ns), tmp_path / f"{day}.npz")
    told = Told()
    load_days(DayFiles(tmp_path, "*.npz", "", ""), tmp_path / "cache", "drop", None, ReadRule(None, told))
    assert told.steps >= 8


class SteppedBuilder:
    """Builds an entry in a thread, one step whenever it is asked to, so that a test decides how time passes."""

    def __init__(self, entry: Path) -> None:
        self.has_begun, self.go, self.done = threading.Event(), threading.Event(), threading.Event()
        self.ends = False
        self._thread = threading.Thread(target=lambda: obtain(entry, self._build), daemon=True)
        self._thread.start()
        assert self.has_begun.wait(PATIENCE_S)

    def _build(self, folder: Path) -> None:
        progress = cache._Builder(Told(), folder)
        self.has_begun.set()
        while not self.ends:
            assert self.go.wait(PATIENCE_S)
            self.go.clear()
            progress._next_s = 0.0
            progress.advanced()
            self.done.set()
        np.save(folder / "a.npy", np.arange(3))

    def step(self) -> None:
        self.done.clear()
        self.go.set()
        assert self.done.wait(PATIENCE_S)

    def finish(self) -> None:
        self.ends = True
        self.go.set()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()


def waiter(monkeypatch: pytest.MonkeyPatch, each_look: Callable[[int], None]) -> list[int]:
    """Every look of who waits takes nearly as long as he would wait for a builder that stands still."""
    looks = [0]
    real = filelock.FileLock.acquire

    def acquire(self: filelock.FileLock, timeout: float | None = None, **others: object) -> object:
        if timeout == cache.LOOK_S:
            looks[0] += 1
            each_look(looks[0])
            timeout = 0.01
        return real(self, timeout=timeout)

    monkeypatch.setattr(filelock.FileLock, "acquire", acquire)

    class Clock:
        monotonic = staticmethod(lambda: looks[0] * 0.9 * cache.BUILD_TIMEOUT_S)
        time = staticmethod(time.time)

    monkeypatch.setattr(cache, "time", Clock)
    return looks


def test_an_entry_that_takes_long_is_waited_for_as_long_as_it_grows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    builder, told = SteppedBuilder(tmp_path / "entry"), Told()
    looks = waiter(monkeypatch, lambda look: builder.step() if look < 10 else builder.finish())
    arrays = obtain(tmp_path / "entry", lambda folder: pytest.fail("built twice"), told)
    assert arrays["a"].tolist() == [0, 1, 2]
    # Nine times nearly the time after which one that stands still is given up.
    assert looks[0] >= 10
    assert told.steps >= 9
    assert told.waiting == [True, False]


def test_a_builder_that_stands_still_is_given_up_with_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    builder = SteppedBuilder(tmp_path / "entry")
    with monkeypatch.context() as patch:
        waiter(patch, lambda look: None)
        with pytest.raises(UsageError, match="did not go on with it for 600 s"):
            obtain(tmp_path / "entry", lambda folder: pytest.fail("built twice"), Told())
    builder.finish()
