"""What the heartbeats of all hosts tell: do they live, agree about the time, run the same code, see the same data?"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from arbd.analysis.code import code_shares, differs_here, is_mixed, mixed_text
from arbd.cli.app import duration
from arbd.cli.doctor.finding import OK, WARNING, Finding, judged
from arbd.cli.executor_lines import executor_lines
from arbd.errors import ArbdError, CorruptionError
from arbd.job.code import REMEDY, altered_since_build, expected_parts
from arbd.job.stored import read_spec
from arbd.results.columns import RowRules
from arbd.results.session_code import SessionCode
from arbd.results.store_format import has_results
from arbd.results.store_reader import StoredResults
from arbd.spool.files import Files
from arbd.spool.layout import SessionPaths, SpoolLayout
from arbd.spool.liveness import Beat, is_held, read_beats, unread_beats
from arbd.spool.operations import halts
from arbd.spool.peers import silent_s
from arbd.spool.queue import SessionQueue
from arbd.spool.readable import require_readable
from arbd.spool.session_index import ended_sessions
from arbd.spool.sessions import is_being_made

LOOK_S = 0.05
CLOCKS_APART_S = 2.0
MAX_BEAT_S = 60.0
# Of sessions that are over, only these are looked at for results of mixed code.
NEWEST_ENDED = 20


def examine(layout: SpoolLayout, here: dict[str, str], folders: Sequence[Path]) -> Iterator[Finding]:
    """Everything; `here` are the versions of this host, `folders` those of objectives. Takes a few heartbeats' time."""
    files = layout.files()
    beats = [beat for beat in read_beats(files, layout) if is_held(files, layout, beat.worker_id)]
    others = list(other_versions(files, layout))
    yield from others
    if not beats and not others:
        remedy = "start one on every host: sudo systemctl start arbd, or arbd run"
        yield Finding("workers", WARNING, "none runs on this spool", remedy)
    elif beats:
        yield judged("workers", f"{len(beats)} live: {', '.join(beat.worker_id for beat in beats)}")
        yield from heartbeats(files, layout, beats)
    yield from versions(beats, here)
    yield from silent(beats)
    yield from halted(files, layout)
    yield from troubles(beats)
    yield from waiting(files, layout, beats)
    yield from code(files, layout, folders)


def silent(beats: list[Beat]) -> Iterator[Finding]:
    """Workers that hold their locks and are not heard of."""
    for worker_id, seconds in silent_s(beats).items():
        remedy = "look at that host and its mount of the spool; it goes on by itself when it reaches it again"
        yield Finding(worker_id, WARNING, f"has not been heard of for {duration(seconds)}, and holds its lock", remedy)


def halted(files: Files, layout: SpoolLayout) -> Iterator[Finding]:
    """Workers that were told to work on nothing: easily forgotten."""
    for worker_id, halt in halts(files, layout).items():
        remedy = f"arbctl undrain {worker_id}" if worker_id else "arbctl maintenance off"
        yield Finding(worker_id or "all workers", WARNING, f"{halt.text()}: no work is taken", remedy)


def other_versions(files: Files, layout: SpoolLayout) -> Iterator[Finding]:
    """Workers that live, and whose heartbeats another version writes."""
    for worker_id, error in unread_beats(files, layout).items():
        if is_held(files, layout, worker_id):
            yield Finding(worker_id, WARNING, f"lives, but what it says cannot be read: {error}", "as the message says")


def heartbeats(files: Files, layout: SpoolLayout, beats: list[Beat]) -> Iterator[Finding]:
    """Watch the counters move for a while: how late they are seen here, and how far clocks are apart."""
    told_s = [float(beat.about.get("beat_s", 1.0)) for beat in beats]
    period = max((s for s in told_s if 0 < s <= MAX_BEAT_S), default=1.0)
    give_up = time.monotonic() + min(3 * period + 1.0, 15.0)
    moved: dict[str, list[float]] = defaultdict(list)
    skew: dict[str, float] = {}
    last = {beat.worker_id: beat.counter for beat in beats}
    while time.monotonic() < give_up and any(len(moved[worker_id]) < 3 for worker_id in last):
        for beat in read_beats(files, layout):
            if beat.worker_id in last and beat.counter != last[beat.worker_id]:
                last[beat.worker_id] = beat.counter
                moved[beat.worker_id].append(time.monotonic())
                told = beat.about.get("wall_ns")
                if isinstance(told, int):
                    apart = (time.time_ns() - told) / 1e9
                    skew[beat.worker_id] = min(skew.get(beat.worker_id, apart), apart, key=abs)
        time.sleep(LOOK_S)
    silent = sorted(worker_id for worker_id in last if not moved[worker_id])
    if silent:
        remedy = "look at that host: a process stopped, or its share away; others take its work over after lease_s"
        yield judged(
            "heartbeats", f"not a beat of {', '.join(silent)} in {3 * period + 1:.0f} s", warning=True, remedy=remedy
        )
    gaps = [late - early for times in moved.values() for early, late in itertools.pairwise(times)]
    if gaps:
        delay = max(0.0, max(gaps) - period)
        found = f"beats are seen here at most {delay:.2f} s late"
        remedy = "lower the attribute cache of the mount (NFS: actimeo=1 or lookupcache=positive), or raise lease_s"
        yield judged("visibility", found, warning=delay > 2 * period, remedy=remedy)
    far = {worker_id: apart for worker_id, apart in skew.items() if abs(apart) > CLOCKS_APART_S}
    if far:
        found = ", ".join(
            f"{worker_id} {abs(apart):.1f} s {'behind' if apart > 0 else 'ahead'}" for worker_id, apart in far.items()
        )
        remedy = "nothing breaks, but times in results and logs mislead: start chrony or systemd-timesyncd there"
        yield judged("clocks", found, warning=True, remedy=remedy)
    elif skew:
        yield judged("clocks", f"all within {max(abs(apart) for apart in skew.values()):.2f} s of this host's")


def versions(beats: list[Beat], here: dict[str, str]) -> Iterator[Finding]:
    """One version of each part on all hosts, this one included."""
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for part, version in here.items():
        found[part][version].append("this host")
    for beat in beats:
        for part, version in beat.about.get("versions", {}).items():
            found[str(part)][str(version)].append(beat.worker_id)
    apart = {part: hosts for part, hosts in found.items() if len(hosts) > 1}
    for part, hosts in sorted(apart.items()):
        told = "; ".join(f"{version} on {', '.join(sorted(names))}" for version, names in sorted(hosts.items()))
        remedy = "install the same everywhere: results may differ in the last digit, or sessions be refused"
        yield Finding(f"version of {part}", WARNING, told, remedy)
    same = ", ".join(f"{part} {next(iter(hosts))}" for part, hosts in sorted(found.items()) if part not in apart)
    if same:
        yield Finding("versions", OK, f"{same} on all")


def troubles(beats: list[Beat]) -> Iterator[Finding]:
    """What workers say that they cannot do: data or code that differs is among it."""
    for beat in beats:
        if beat.about.get("trouble"):
            remedy = "results wait in that daemon's memory until the files work again"
            yield Finding(beat.worker_id, WARNING, f"has trouble with the spool: {beat.about['trouble']}", remedy)
        for session_id, reason in beat.about.get("blocked", {}).items():
            yield Finding(beat.worker_id, WARNING, f"cannot evaluate {session_id}: {reason}", "as the message says")
        told = beat.about.get("executor") or {}
        if told.get("waits_for") or told.get("refused"):
            remedy = "start workers there with the versions of this daemon: its log and `arbctl workers` say more"
            for line in executor_lines(beat.worker_id, told):
                yield Finding(beat.worker_id, WARNING, line.removeprefix(f"{beat.worker_id}: "), remedy)
        elif told:
            yield Finding(
                beat.worker_id, OK, executor_lines(beat.worker_id, told)[0].removeprefix(f"{beat.worker_id}: ")
            )
        kept = beat.about.get("retention") or {}
        for session_id, reason in dict(kept.get("troubles") or {}).items():
            about = f"{session_id}: " if session_id else ""
            remedy = "`arbctl retention` shows what is due; it is tried again at the next round"
            yield Finding(beat.worker_id, WARNING, f"retention cannot be carried out: {about}{reason}", remedy)
        yield from _unsaid(beat)
        yield from _unmirrored(beat)
    if beats and not any(beat.about.get("trouble") or beat.about.get("blocked") for beat in beats):
        yield Finding("code and data", OK, "every worker can evaluate every session")


def _unmirrored(beat: Beat) -> Iterator[Finding]:
    told = beat.about.get("mirror") or {}
    for reason in told.get("unfit") or ():
        yield Finding(beat.worker_id, WARNING, f"Redis is no safe place for results: {reason}", "as the message says")
    for session_id, reason in dict(told.get("troubles") or {}).items():
        yield Finding(beat.worker_id, WARNING, f"{session_id} in Redis: {reason}", "as the message says")


def _unsaid(beat: Beat) -> Iterator[Finding]:
    for name, told in dict(beat.about.get("notify") or {}).items():
        if told.get("error"):
            remedy = f"`arbctl notices --test {name}` tries it from here; it is tried again a few times by itself"
            yield Finding(beat.worker_id, WARNING, f"{name} cannot be told of sessions: {told['error']}", remedy)
        elif told.get("sends") and told.get("given_up"):
            remedy = f"`arbctl notices` shows them, `arbctl notices --again {name}` has them sent"
            yield Finding(beat.worker_id, WARNING, f"{told['given_up']} notices for {name} were given up", remedy)


def waiting(files: Files, layout: SpoolLayout, beats: list[Beat]) -> Iterator[Finding]:
    """Jobs that nobody takes up, jobs that were refused, sessions that nobody works on."""
    jobs = [name for name in files.names(layout.incoming) if not name.startswith(".")]
    if jobs and not beats:
        yield Finding("incoming", WARNING, f"{len(jobs)} jobs wait for a worker", "start one")
    refused = [name for name in files.names(layout.rejected) if name.endswith(".error.txt")]
    if refused:
        remedy = f"read {layout.rejected / refused[-1]}, then remove job and text"
        yield Finding("rejected", WARNING, f"{len(refused)} jobs were refused", remedy)
    names = files.names(layout.sessions)
    ended = ended_sessions(files, layout, names)
    for session_id in (name for name in names if name not in ended and not name.startswith(".")):
        trouble = _trouble_of(files, layout, session_id)
        if trouble is not None:
            yield trouble


def code(files: Files, layout: SpoolLayout, folders: Sequence[Path]) -> Iterator[Finding]:
    """Code that this host has otherwise than a session that goes on, sessions with results of different code."""
    if altered := altered_since_build():
        yield Finding("own code", WARNING, f"{', '.join(altered[:5])}: not as installed", "install arbd anew")
    names = files.names(layout.sessions)
    ended = ended_sessions(files, layout, names)
    newest = set(sorted(ended, key=lambda name: ended[name].ended_ns)[-NEWEST_ENDED:])
    for session_id in (name for name in names if (name not in ended or name in newest) and not name.startswith(".")):
        # What cannot be read was told above.
        with contextlib.suppress(ArbdError, OSError):
            yield from _code_of(files, layout, session_id, folders)


def _code_of(files: Files, layout: SpoolLayout, session_id: str, folders: Sequence[Path]) -> Iterator[Finding]:
    paths = layout.session(session_id)
    spec = read_spec(files, paths)
    if not SessionQueue(files, paths).refresh().over:
        for text in differs_here(files, layout, paths, folders):
            yield Finding("code", WARNING, f"{session_id}: {text}", REMEDY.replace("SESSION", session_id))
    elif has_results(files, paths):
        counts = StoredResults(files, paths, RowRules.of(spec)).code_counts
        shares = code_shares(SessionCode(files, paths, expected_parts(spec)), counts)
        if is_mixed(shares):
            yield Finding("code", WARNING, f"{session_id}: {mixed_text(session_id, shares)}", "as the message says")


def _trouble_of(files: Files, layout: SpoolLayout, session_id: str) -> Finding | None:
    try:
        fault = _fault_of(files, layout.session(session_id))
    except CorruptionError as error:
        fault = str(error)
    except (ArbdError, OSError) as error:
        if is_being_made(files, layout, session_id):
            return None
        return Finding("sessions", WARNING, f"{session_id}: {error}", "as the message says")
    anew = f"`arbctl repair {session_id} --dry-run` says what can be made anew; `arbctl restore` puts an archive back"
    return None if fault is None else Finding("sessions", WARNING, f"{session_id}: {fault}", anew)


def _fault_of(files: Files, paths: SessionPaths) -> str | None:
    queue = SessionQueue(files, paths)
    state = queue.refresh()
    if queue.opened_from_job:
        return f"{paths.ledger}, byte 0: the record that opens the session is damaged; its job says the same"
    spec = read_spec(files, paths)
    if not state.over:
        require_readable(files, paths)
    if has_results(files, paths):
        StoredResults(files, paths, RowRules.of(spec))
    elif state.over and state.counted and not files.names(paths.segments):
        return f"{state.counted:,} iterations were recorded, but no results are there"
    return None
