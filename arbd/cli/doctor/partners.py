"""Two hosts take turns under one lock: does it exclude, and does each see at once what the other wrote?

`arbctl doctor --verify-fs` runs this on two hosts (or more) at the same time. They find each other in
`.verify-fs/` of the spool by files that each rewrites with a growing counter; no clocks are compared. Under the
lock each reads the whole board, appends `in NAME TURN`, holds it for a moment, and appends `out NAME TURN`, where
TURN is one more than the last turn on the board. Then the board must tell: never two in at once, no turn twice,
no entry lost.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import field
from pathlib import Path

from arbd.cli.doctor.finding import BROKEN, WARNING, Finding, judged
from arbd.spool.files import Files
from arbd.spool.layout import NAME_PATTERN, SpoolLayout
from arbd.values import dataclass

FOLDER = ".verify-fs"
BEAT_S = 0.25
_NUMBER = re.compile(r"[0-9]{1,18}")
HERE, DONE = ".here", ".done"
REMEDY = "mount with locks that reach the server (NFS 4, no nolock, local_lock=none), then verify again"


@dataclass(slots=True)
class Turns:
    """One participant. `name` is host and process, so that every one is another."""

    files: Files
    folder: Path
    name: str
    own: int = 0
    _beats: int = 0
    _seen: dict[str, tuple[bytes, int]] = field(default_factory=dict)

    def beat(self) -> None:
        """Say that this one is here."""
        self._beats += 1
        self.files.overwrite(self.folder / f"{self.name}{HERE}", f"{self._beats:012d}".encode())

    def partners(self) -> list[str]:
        """Whose counter was seen to move."""
        moving = []
        for path in self.files.names(self.folder):
            name = path.removesuffix(HERE)
            if not path.endswith(HERE) or name == self.name or not NAME_PATTERN.fullmatch(name):
                continue
            try:
                content = self.files.read(self.folder / path, limit=64)
            except FileNotFoundError:
                continue
            before, moves = self._seen.get(name, (content, 0))
            self._seen[name] = (content, moves + (content != before))
            if self._seen[name][1] >= 2:
                moving.append(name)
        return sorted(moving)

    def take(self, lock: Path, board: Path) -> None:
        """One turn."""
        with self.files.lock(lock, 60.0):
            lines = read_board(self.files, board)
            turn = 1 + max((turn for _, _, turn in lines), default=0)
            self.files.append(board, f"in {self.name} {turn}\n".encode())
            time.sleep(0.002)
            self.files.append(board, f"out {self.name} {turn}\n".encode())
        self.own += 1


def read_board(files: Files, board: Path) -> list[tuple[str, str, int]]:
    """Entries; what is torn or of NUL bytes counts as `torn`."""
    try:
        text = files.read(board, limit=1 << 26).decode(errors="replace")
    except FileNotFoundError:
        return []
    entries = []
    for line in text.splitlines():
        words = line.split()
        good = len(words) == 3 and words[0] in ("in", "out") and _NUMBER.fullmatch(words[2])
        entries.append((words[0], words[1], int(words[2])) if good else ("torn", "", 0))
    return entries


def judge(entries: list[tuple[str, str, int]], told: dict[str, int]) -> list[Finding]:
    """What the board says; `told` is how many turns each participant says it took."""
    torn = sum(what == "torn" for what, _, _ in entries)
    overlaps, inside = 0, ""
    for what, name, _ in entries:
        if what == "in":
            overlaps += bool(inside)
            inside = name
        elif what == "out":
            overlaps += inside != name
            inside = ""
    turns = [turn for what, _, turn in entries if what == "in"]
    stale = len(turns) - len(set(turns))
    found = {name: sum(what == "in" and who == name for what, who, _ in entries) for name in told}
    lost = sum(max(0, count - found[name]) for name, count in told.items())
    total = sum(told.values())
    return [
        judged("locks across hosts", f"{overlaps} overlaps in {total:,} turns", broken=overlaps > 0, remedy=REMEDY),
        judged("reads across hosts", f"{stale} stale reads under the lock", broken=stale > 0, remedy=REMEDY),
        judged("appends across hosts", f"{lost} entries lost, {torn} torn", broken=bool(lost or torn), remedy=REMEDY),
    ]


def verify(
    layout: SpoolLayout, name: str, seconds: float, patience_s: float, say: Callable[[str], None]
) -> Iterator[Finding]:
    """Meet a partner, take turns with it, judge."""
    files = layout.files()
    folder = layout.root / FOLDER
    files.make_folder(folder)
    me = Turns(files, folder, name)
    try:
        say(f"{name} waits for a partner: run `arbctl doctor --verify-fs` on another host within {patience_s:.0f} s")
        partners = _met(me, patience_s)
        if not partners:
            yield Finding(
                "partner",
                BROKEN,
                f"none came within {patience_s:.0f} s",
                "start it on both hosts at about the same time",
            )
            return
        say(f"taking turns with {', '.join(partners)} for {seconds:.0f} s")
        yield from _judged(me, partners, seconds, patience_s)
    finally:
        for suffix in (HERE, DONE):
            files.remove(folder / f"{name}{suffix}")


def _met(me: Turns, patience_s: float) -> list[str]:
    give_up = time.monotonic() + patience_s
    while time.monotonic() < give_up:
        me.beat()
        if partners := me.partners():
            # A partner has to see this one move too.
            for _ in range(8):
                me.beat()
                time.sleep(BEAT_S)
            return partners
        time.sleep(BEAT_S)
    return []


def _judged(me: Turns, partners: list[str], seconds: float, patience_s: float) -> Iterator[Finding]:
    files, folder = me.files, me.folder
    everyone = sorted([me.name, *partners])
    lock, board = folder / "lock", folder / f"{everyone[0]}.board"
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        me.take(lock, board)
    files.publish(folder / f"{me.name}{DONE}", str(me.own).encode())
    told = {me.name: me.own}
    give_up = time.monotonic() + patience_s
    while len(told) < len(everyone) and time.monotonic() < give_up:
        for name in partners:
            if f"{name}{DONE}" in files.names(folder):
                count = files.read(folder / f"{name}{DONE}", limit=20).decode(errors="replace")
                told[name] = int(count) if _NUMBER.fullmatch(count) else 0
        time.sleep(BEAT_S)
    entries = read_board(files, board)
    missing = sorted(set(everyone) - set(told))
    if missing:
        yield Finding("partner", WARNING, f"{', '.join(missing)} went away before the end", "run it again on both")
    hosts = {name.rpartition(".")[0] for name in everyone}
    shared = f"{', '.join(f'{name} {count:,}' for name, count in sorted(told.items()))} turns"
    remedy = "both ran on one host, which proves nothing about others: run one of them elsewhere"
    yield judged("partner", shared, warning=len(hosts) == 1, remedy=remedy)
    yield from judge(entries, told)
    # The other must have read the board and this one's count before they go.
    time.sleep(6 * BEAT_S)
    if me.name == everyone[0]:
        files.remove(board)
