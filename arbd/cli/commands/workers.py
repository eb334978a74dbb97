"""`arbctl workers`: who beats on this spool, and whether anybody still holds the liveness lock."""

from __future__ import annotations

from typing import Any

import click

from arbd.analysis.pace import rate_text
from arbd.cli.app import App, json_option, pass_app, table
from arbd.cli.executor_lines import executor_lines
from arbd.cli.live import ENDED, shown_state, silence, worker_facts
from arbd.errors import VersionError
from arbd.spool.dropped import queued_jobs
from arbd.spool.layout import SpoolLayout
from arbd.spool.liveness import Beat, beat_path, is_held, read_beats, unread_beats
from arbd.spool.peers import silent_s
from arbd.terminal_text import escape_line

# In place of the state of a worker whose heartbeat this version cannot read.
UNREAD = "unread"


def _document(layout: SpoolLayout, beat: Beat, silent_s: float | None) -> dict[str, Any]:
    return {
        "worker_id": beat.worker_id,
        "alive": is_held(layout.files(), layout, beat.worker_id),
        "silent_s": silent_s,
        **worker_facts(beat),
        "pid": beat.about.get("pid"),
        "mirror": beat.about.get("mirror"),
        "versions": beat.about.get("versions", {}),
        "halted": beat.about.get("halted"),
        "beats": beat.counter,
        "beat_mtime_ns": beat_path(layout, beat.worker_id).stat().st_mtime_ns,
    }


def _unread(layout: SpoolLayout, worker_id: str, error: VersionError) -> dict[str, Any]:
    """A worker whose heartbeat another version writes: that it is there is all that can be said."""
    unknown = (
        "silent_s",
        "host",
        "slots",
        "busy",
        "done",
        "rate_per_s",
        "pid",
        "mirror",
        "beats",
        "halted",
        "executor",
    )
    return {
        "worker_id": worker_id,
        "alive": is_held(layout.files(), layout, worker_id),
        **dict.fromkeys(unknown),
        "state": UNREAD,
        "sessions": [],
        "blocked": {},
        "finishing": {},
        "trouble": str(error),
        "versions": {"arbd": error.writer} if error.writer else {},
        "beat_mtime_ns": beat_path(layout, worker_id).stat().st_mtime_ns,
    }


@click.command()
@click.option("--all", "all_", is_flag=True, help="Those that exited cleanly too, e.g. of `arbctl run`.")
@json_option
@pass_app
def workers(app: App, all_: bool) -> None:
    """Hosts, slots, rates, versions, and what each worker runs or cannot run.

    `gone` is one that died; `silent` one that holds its lock and whose heartbeat the others have seen stand still.
    """
    layout = app.layout()
    files = layout.files()
    beats = read_beats(files, layout)
    silent = silent_s(beats)
    documents = [_document(layout, beat, silent.get(beat.worker_id)) for beat in beats]
    documents += [_unread(layout, name, error) for name, error in unread_beats(files, layout).items()]
    jobs = list(queued_jobs(files, layout))
    for document in documents:
        name = document["worker_id"]
        document["refuses"] = {job.name: job.refused_by[name] for job in jobs if name in job.refused_by}
        document["checks"] = [job.name for job in jobs if job.checked_by == name]
    shown = [d for d in documents if all_ or d["alive"] or d["state"] != ENDED]
    app.show({"workers": shown}, lambda: _text(shown, len(documents) - len(shown)))


def _text(documents: list[dict[str, Any]], ended: int) -> str:
    more = f"{ended} exited cleanly: --all shows them"
    if not documents:
        hint = "start one with `arbd run`"
        return (
            f"no worker runs on this spool, {more}; {hint}"
            if ended
            else f"no worker has ever sent a heartbeat to this spool; {hint}"
        )
    head = ("WORKER", "STATE", "HOST", "PID", "SLOTS", "BUSY", "DONE", "PER SECOND", "VERSION", "SESSIONS")
    rows = [
        [
            str(d["worker_id"]),
            shown_state(d["state"], d["alive"], d["silent_s"]),
            _cell(d["host"]),
            _cell(d["pid"]),
            _cell(d["slots"]),
            str(min(max(0, d["busy"] or 0), d["slots"] or 0)) if _is_heard(d) else "-",
            _cell(d["done"]),
            rate_text(d["rate_per_s"] or 0) if _is_heard(d) else "-",
            str(d["versions"].get("arbd", "?")),
            " ".join(d["sessions"]) if _is_heard(d) else "",
        ]
        for d in documents
    ]
    lines = [table(head, rows)]
    for d in documents:
        if d["state"] == UNREAD:
            lines.append(f"{d['worker_id']}: {escape_line(d['trouble'])}")
        elif d["alive"] and d["silent_s"] is not None:
            lines.append(silence(d["worker_id"], d["silent_s"]))
        elif d["alive"]:
            lines += [
                f"{d['worker_id']} cannot evaluate {escape_line(name)}: {escape_line(reason)}"
                for name, reason in d["blocked"].items()
            ]
            lines += [
                f"{d['worker_id']} cannot put the results of {escape_line(name)} together: {escape_line(reason)}"
                for name, reason in d["finishing"].items()
            ]
            lines += (
                [f"{d['worker_id']} has trouble with the spool: {escape_line(d['trouble'])}"] if d["trouble"] else []
            )
            lines += [f"{d['worker_id']} works on nothing: {escape_line(str(d['halted']))}"] if d["halted"] else []
            lines += map(escape_line, executor_lines(d["worker_id"], d["executor"]))
            lines += _mirror(d["worker_id"], d["mirror"])
        lines += [f"{d['worker_id']} refuses {escape_line(n)}: {escape_line(why)}" for n, why in d["refuses"].items()]
        lines += [f"{d['worker_id']} checks {escape_line(name)}" for name in d["checks"]]
    lines += [more] if ended else []
    return "\n".join(lines)


def _is_heard(document: dict[str, Any]) -> bool:
    """True of a worker that lives, moves, and says what this version can read."""
    return bool(document["alive"]) and document["silent_s"] is None and document["state"] != UNREAD


def _cell(value: object) -> str:
    return "-" if value is None else str(value)


def _mirror(worker_id: str, mirror: Any) -> list[str]:
    """What there is to say of a worker's Redis mirror."""
    if not isinstance(mirror, dict):
        return []
    count, url = mirror.get("behind"), escape_line(str(mirror.get("url")))
    behind = f"{count:,} results behind" if isinstance(count, int) else "nobody knows how far behind"
    troubles = mirror.get("troubles")
    lines = [
        f"{worker_id} cannot mirror {escape_line(str(name))} to Redis: {escape_line(str(why))}"
        for name, why in (troubles.items() if isinstance(troubles, dict) else ())
    ]
    unfit = mirror.get("unfit")
    lines += [
        f"{worker_id}: the Redis at {url} is no safe place for results: {escape_line(str(why))}"
        for why in (unfit if isinstance(unfit, list) else ())
    ]
    if mirror.get("state") == "down":
        error = escape_line(str(mirror.get("error")))
        return [f"{worker_id} cannot reach Redis at {url}, {behind}: {error}", *lines]
    return [f"{worker_id} mirrors to Redis at {url}, {behind}", *lines]
