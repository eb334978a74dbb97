"""What reads hostile files: each reader by itself, then arbctl, the intake and a daemon's coordinator on whole spools.

A target returns a word for what became of the case. It raises what a reader let through that is no ArbdError; that is
what the fuzzer is for.
"""

from __future__ import annotations

import contextlib
import io
import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgpack
import numpy as np

from arbd.analysis.overview import Overview
from arbd.analysis.table import load_table
from arbd.cli.__main__ import call
from arbd.daemon.core import events
from arbd.daemon.core.coordinator import Coordinator
from arbd.daemon.core.session_registry import Timing
from arbd.daemon.host.config import load_config
from arbd.daemon.side.intake_process import session_resolver
from arbd.daemon.side.live_csv import LiveTable
from arbd.errors import ArbdError
from arbd.job.codec import read_job_spec
from arbd.job.stored import read_spec
from arbd.results.columns import RowRules
from arbd.results.csv_writer import csv_lines
from arbd.results.generations import read_generation
from arbd.results.merge import Merge
from arbd.results.segments import SegmentReader
from arbd.results.session_rows import read_rows
from arbd.results.store_reader import read_results
from arbd.search.generation import Generation
from arbd.search.plan import PlannedRows
from arbd.search.samplers import adaptive, make_sampler
from arbd.spool.arrivals import SUBMITTED_SUFFIX
from arbd.spool.frames import encode_frame
from arbd.spool.intake import Intake
from arbd.spool.layout import SpoolLayout
from arbd.spool.liveness import Observer, read_beats, take_liveness_lock
from arbd.spool.peers import Peers
from arbd.spool.queue import SessionQueue, Worker
from tests.fuzz.corpus import Corpus
from tests.fuzz.file_targets import FILE_TARGETS
from tests.fuzz.mutations import TEXTS, mutate_bytes, mutate_framed_file, mutate_job
from tests.fuzz.outside_targets import OUTSIDE_TARGETS, import_dumps

ROWS_SAMPLED = 3
WARM_UP_CASES = 5


class FakeClock:
    """Each look at it, some time has passed."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def monotonic_s(self) -> float:
        self.now_s += 0.3
        return self.now_s

    def monotonic_ns(self) -> int:
        return int(self.monotonic_s() * 1e9)

    def wall_ns(self) -> int:
        return 1_700_000_000_000_000_000

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


class SilentLog:
    """Everything that would be logged must at least be a text."""

    def _say(self, event: str, **fields: object) -> None:
        assert all(str(value) is not None for value in fields.values())

    debug = info = warning = error = _say


class EmptyInbox:
    def put(self, news: events.News) -> None:
        raise AssertionError("nobody sends news here")

    def get(self, timeout_s: float) -> events.News | None:
        return None


@dataclass
class Bench:
    """A spool of its own for one fuzzing process; what a case changed is put back before the next."""

    corpus: Corpus
    layout: SpoolLayout = field(init=False)
    _originals: dict[str, bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.layout = SpoolLayout(self.corpus.spool)
        settings = self.corpus.config.read_text().replace("HOME", str(self.corpus.folder))
        self.corpus.config.write_text(settings)
        self.files = self.layout.files()
        self.resolve = session_resolver(load_config(self.corpus.config, {}))
        self.spec = read_spec(self.files, self.layout.session("done"))
        self.jobs = self.corpus.jobs()
        self.outside = self.corpus.folder / "outside"
        self.outside.mkdir(exist_ok=True)
        (self.outside / "secret").write_bytes(b"not for you")
        files = (path for path in sorted(self.corpus.spool.rglob("*")) if path.is_file() and path.suffix != ".lock")
        self._originals = {str(path.relative_to(self.corpus.spool)): path.read_bytes() for path in files}

    def warm_up(self) -> None:
        """Import and compile what would otherwise count as the first case's time."""
        for data in self.jobs:
            spec = self.resolve(data, "job.yaml")
            if adaptive(spec.method) is None:
                make_sampler(spec.method, spec.space, spec.seed, spec.n, spec.grid_points).rows(1, 1)
        rng = random.Random(0)
        import_dumps(self)
        for target, _ in (*FILE_TARGETS.values(), *OUTSIDE_TARGETS.values()):
            for _ in range(WARM_UP_CASES):
                with contextlib.suppress(Exception):
                    # What is wrong is found by the cases: this only loads what they need.
                    target(self, rng)
        with contextlib.redirect_stdout(io.StringIO()):
            for command in (["status"], ["summary", "done"], ["workers"], ["list"]):
                call(["--spool", str(self.layout.root), "--config", str(self.corpus.config), *command])

    def named(self, part: str) -> list[str]:
        return [name for name in self._originals if part in name]

    def original(self, name: str) -> bytes:
        return self._originals[name]

    def put(self, name: str, data: bytes) -> Path:
        spool = self.corpus.spool
        path = spool / name
        planted = path.is_symlink() or (path.exists() and not path.is_file())
        if planted or any(folder.is_symlink() for folder in path.parents if folder.is_relative_to(spool)):
            # It is readers and writers of the spool that are watched, not this.
            raise FileExistsError(f"{path} is, or is behind, what was planted")
        path.write_bytes(data)
        return path

    def restore(self) -> None:
        """The whole spool as it was."""
        _remove(self.corpus.spool)
        for folder in (*self.layout.folders(), *(self.layout.session(s).segments for s in ("done", "half"))):
            folder.mkdir(parents=True, exist_ok=True)
        for session in ("done", "half"):
            self.layout.session(session).generations.mkdir()
        for name, data in self._originals.items():
            (self.corpus.spool / name).parent.mkdir(parents=True, exist_ok=True)
            self.put(name, data)

    def check_outside(self) -> None:
        """Nothing was written out of the spool, through whatever link."""
        made = [path.name for path in self.outside.iterdir() if path.name != "secret"]
        assert not made, f"made outside of the spool: {made}"
        assert (self.outside / "secret").read_bytes() == b"not for you", "a file outside of the spool was written to"


def _remove(path: Path) -> None:
    """Whatever is there. `shutil.rmtree` would wait for a pipe's other end."""
    if not os.path.lexists(path):
        return
    if path.is_symlink() or not path.is_dir():
        path.unlink()
        return
    for below in path.iterdir():
        _remove(below)
    path.rmdir()


def _cleanly(step: Callable[[], object]) -> str:
    try:
        step()
    except ArbdError as error:
        str(error).encode()
        return "refused"
    return "read"


def job(bench: Bench, rng: random.Random) -> str:
    """A job file through parsing, checking and resolving; a good one can be written, read back and sampled."""
    data = mutate_job(rng, rng.choice(bench.jobs))

    def step() -> None:
        spec = bench.resolve(data, "job.yaml")
        again = read_job_spec(bytes(msgpack.packb(spec.to_plain())))
        assert again.to_plain() == spec.to_plain() or b"nan" in data.lower()
        if adaptive(spec.method) is not None:
            return
        sampler = make_sampler(spec.method, spec.space, spec.seed, spec.n, spec.grid_points)
        rows = spec.space.rows(sampler.rows(1, min(ROWS_SAMPLED, spec.n)))
        assert rows
        assert rows[0].keys() == set(spec.space.names)

    return _cleanly(step)


def ledger(bench: Bench, rng: random.Random) -> str:
    """A ledger through the queue, and everything that is asked of its state."""
    name = rng.choice(bench.named("/ledger"))
    data = bench.original(name)
    path = bench.put(name, mutate_framed_file(rng, data))

    def step() -> None:
        queue = SessionQueue(bench.files, bench.layout.session(path.parent.name))
        state = queue.refresh()
        state.take(3, 10, "host-a")
        assert state.live_slots() >= 0
        state.unclaimed_for("host-a", state.n)
        Overview(path.parent.name, state).document()
        queue.take_damage()

    outcome = _cleanly(step)
    bench.put(name, data)
    return outcome


def segment(bench: Bench, rng: random.Random) -> str:
    """A segment through merging, tables and the live table."""
    name = rng.choice(bench.named("half/segments/"))
    data = bench.original(name)
    bench.put(name, mutate_framed_file(rng, data))
    paths, spec = bench.layout.session("half"), bench.spec
    rules = RowRules.of(spec)

    def merged() -> None:
        merge = Merge(bench.files, paths, rules)
        merge.missing(spec.n, 0)
        list(merge.groups())

    def tabled() -> None:
        b"".join(csv_lines(spec, "half", read_rows(bench.files, paths, done=False, rules=rules)))

    def followed() -> None:
        LiveTable(bench.files, paths, spec).update()

    def read_alone() -> None:
        list(SegmentReader(bench.files, paths, blocks=True).poll())

    def step() -> None:
        for one in rng.sample((merged, tabled, followed, read_alone), 2):
            one()

    outcome = _cleanly(step)
    bench.put(name, data)
    paths.results_csv.unlink(missing_ok=True)
    return outcome


def results(bench: Bench, rng: random.Random) -> str:
    """`results.msgpack` through its reader and the table."""
    name = "sessions/done/results.msgpack"
    data = bench.original(name)
    bench.put(name, mutate_framed_file(rng, data))
    paths, rules = bench.layout.session("done"), RowRules.of(bench.spec)

    def step() -> None:
        for blocks in (False, True):
            b"".join(csv_lines(bench.spec, "done", read_results(bench.files, paths, blocks=blocks, rules=rules)))
        table = load_table(bench.layout.root, "done")
        table.results(range(len(table.rows)))

    outcome = _cleanly(step)
    bench.put(name, data)
    return outcome


def beat(bench: Bench, rng: random.Random) -> str:
    """A heartbeat through everybody who looks at it."""
    name = rng.choice(bench.named(".beat"))
    data = bench.original(name)
    bench.put(name, mutate_framed_file(rng, data))
    files, layout, clock = bench.files, bench.layout, FakeClock()

    def step() -> None:
        observer, peers = Observer(files, layout, clock, 1.0, 60.0), Peers(files, layout, clock, "me", 60.0)
        for _ in range(3):
            observer.dead("host-a", 1)
            peers.look()
            peers.can_take("done")
        for found in read_beats(files, layout):
            assert found.worker_id in ("host-a", "host-b")

    outcome = _cleanly(step)
    bench.put(name, data)
    return outcome


def spec(bench: Bench, rng: random.Random) -> str:
    """A resolved job as another host may write it."""
    name = "sessions/half/spec.msgpack"
    data = bench.original(name)
    bench.put(name, mutate_framed_file(rng, data))

    def step() -> None:
        found = read_spec(bench.files, bench.layout.session("half"))
        RowRules.of(found)
        found.to_plain()
        merge = Merge(bench.files, bench.layout.session("half"), RowRules.of(found))
        b"".join(csv_lines(found, "half", []))
        list(merge.groups())

    outcome = _cleanly(step)
    bench.put(name, data)
    return outcome


def _odd_name(rng: random.Random) -> str:
    name = rng.choice(
        [*TEXTS, "evil.yaml", "x" * 250 + ".yaml", "host-c.beat", f"s{SUBMITTED_SUFFIX}", "a,b.yaml", ",.yaml"]
    )
    return name.replace("/", "_").replace("\0", "_")[:200] or "_"


def _plant(bench: Bench, rng: random.Random) -> None:
    """Something in the spool that is not the file that belongs there."""
    root = bench.corpus.spool
    folder = root / rng.choice(
        [
            "incoming",
            "incoming/.accepting",
            "sessions",
            "workers",
            "rejected",
            "sessions/half",
            "sessions/half/segments",
            "sessions/done",
        ]
    )
    if any(path.is_symlink() for path in (folder, folder.parent)):
        # What was planted there before leads out: it would be this that writes outside.
        return
    there = sorted(path for path in folder.iterdir()) if folder.is_dir() else []
    place = rng.choice(there) if there and rng.random() < 0.6 else folder / _odd_name(rng)
    with contextlib.suppress(OSError, ValueError):
        _remove(place)
        kind = rng.randrange(8)
        if kind == 0:
            place.symlink_to(bench.outside / rng.choice(["secret", "planted"]))
        elif kind == 1:
            place.symlink_to(bench.outside)
        elif kind == 2:
            os.mkfifo(place)
        elif kind == 3:
            place.mkdir()
        elif kind == 4:
            place.symlink_to(place.name)
        elif kind == 5:
            place.write_bytes(mutate_bytes(rng, bench.original(rng.choice(list(bench._originals)))))
        elif kind == 6:
            place.symlink_to(rng.choice(["/dev/zero", "/dev/null", "/proc/self/mem"]))
        else:
            place.write_bytes(rng.choice([b"", bytes(100_000), rng.randbytes(1_000)]))


def _hostile_spool(bench: Bench, rng: random.Random) -> None:
    for name in rng.sample(list(bench._originals), rng.randint(1, 3)):
        data = bench.original(name)
        with contextlib.suppress(OSError):
            bench.put(name, mutate_job(rng, data) if name.endswith("yaml") else mutate_framed_file(rng, data))
    for _ in range(rng.randrange(4)):
        _plant(bench, rng)
    for number in range(rng.randrange(3)):
        name = f"{number}{SUBMITTED_SUFFIX}" if rng.random() < 0.7 else _odd_name(rng)
        with contextlib.suppress(OSError):
            bench.put(f"incoming/{name}", mutate_job(rng, rng.choice(bench.jobs)))


def arbctl(bench: Bench, rng: random.Random) -> str:
    """Commands on a hostile spool: an exit code, no traceback, nothing on the terminal that moves its cursor."""
    _hostile_spool(bench, rng)
    output = bench.corpus.folder / "exported"
    commands = [
        ["status"], ["status", "half"], ["status", "done", "--json"], ["list"], ["summary", "half"], ["summary", "done"],
        ["workers"], ["workers", "--json"], ["best", "done", "--format", "env"], ["retry", "half"], ["pause", "half"],
        ["export", "done", "--format", "csv", "--output", str(output)], ["export", "half", "--format", "jsonl", "--output", str(output)],
        ["export", "half", "--format", "msgpack", "--output", str(output)],
    ]  # fmt: skip
    codes = set()
    for command in rng.sample(commands, 4):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            codes.add(call(["--spool", str(bench.layout.root), "--config", str(bench.corpus.config), *command]))
        shown = out.getvalue() + err.getvalue()
        assert "Traceback" not in shown
        hidden = [
            c
            for c in shown
            if not c.isprintable() and c not in "\n\t" and (ord(c) < 32 or 127 <= ord(c) < 160 or c == "\u202e")
        ]
        assert not hidden, f"{command} printed {hidden[:5]}"
    bench.restore()
    assert codes <= {0, 1, 2, 3, 4}, codes
    return "codes " + ",".join(map(str, sorted(codes)))


def intake(bench: Bench, rng: random.Random) -> str:
    """Dropped files with hostile contents, names and kinds; the others are still taken up."""
    clock = FakeClock()
    _hostile_spool(bench, rng)
    taken = Intake(bench.files, bench.layout, clock, bench.resolve)
    outcome = "blocked"
    with contextlib.suppress(OSError):
        good = bench.put(
            f"incoming/zz-good{SUBMITTED_SUFFIX}", bench.jobs[0].replace(b"session_id: done", b"session_id: good")
        )
        try:
            for _ in range(30):
                taken.scan()
            outcome = "done"
            assert not good.exists(), "a good job was not taken up"
        except ArbdError:
            # A folder of the spool itself is not one any more.
            outcome = "refused"
    bench.restore()
    return outcome


def coordinator(bench: Bench, rng: random.Random) -> str:
    """A daemon's coordinator on a hostile spool: it goes on."""
    _hostile_spool(bench, rng)
    clock, orders = FakeClock(), []
    files, layout = bench.files, bench.layout
    outcome = "refused"
    with contextlib.suppress(ArbdError, OSError):
        life = take_liveness_lock(files, layout, "me")
        assert life is not None
        one: Any = Coordinator(
            files, clock, layout, Worker("me", rng.getrandbits(63), 2), Timing(1.0, 1.0, 60.0, 2.0), SilentLog(),  # type: ignore[arg-type]
            orders.append, about={}, intake=True, inbox=EmptyInbox(), life=life,
        )  # fmt: skip
        one._slots_ready = 2
        try:
            for _ in range(6):
                one._turn()
            outcome = "in trouble" if one._trouble else "works"
        finally:
            life.release()
    bench.restore()
    return outcome


def generation(bench: Bench, rng: random.Random) -> str:
    """A generation's file through its reader, and its rows as a slot would take them."""
    columns = {"a": np.linspace(0.0, 1.0, 8), "b": np.arange(8)}
    whole = Generation(1, 1, PlannedRows(columns, np.zeros(8, dtype=np.int64), np.ones(8)), versions={"numpy": "2"})
    paths = bench.layout.session("half")
    path = bench.put(
        "sessions/half/generations/000001.gen", mutate_framed_file(rng, encode_frame(whole.encode()))
    )  # fmt: skip

    def step() -> None:
        found = read_generation(bench.files, paths, 1)
        found.rows.select(slice(0, 3))
        assert found.encode()

    outcome = _cleanly(step)
    path.unlink()
    return outcome


TARGETS: dict[str, tuple[Callable[[Bench, random.Random], str], float]] = {
    "job": (job, 0.28),
    "ledger": (ledger, 0.24),
    "segment": (segment, 0.2),
    "generation": (generation, 0.04),
    "beat": (beat, 0.08),
    "results": (results, 0.06),
    "spec": (spec, 0.06),
    "arbctl": (arbctl, 0.015),
    "intake": (intake, 0.0125),
    "coordinator": (coordinator, 0.0125),
    **FILE_TARGETS,
    **OUTSIDE_TARGETS,
}
