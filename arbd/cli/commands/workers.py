"""`arbctl workers`: who beats on this spool, and whether anybody still holds the life lock."""

from __future__ import annotations

from typing import Any

import click

from arbd.cli.app import App, json_option, pass_app, table
from arbd.spool.layout import SpoolLayout
from arbd.spool.workers import Beat, beat_path, is_held, read_beats
from arbd.visible import visible_line


def _document(layout: SpoolLayout, beat: Beat) -> dict[str, Any]:
    about = beat.about
    return {
        "worker_id": beat.worker_id,
        "alive": is_held(layout.files(), layout, beat.worker_id),
        "host": about.get("host"),
        "pid": about.get("pid"),
        "slots": about.get("slots"),
        "busy": about.get("busy"),
        "done": about.get("done"),
        "rate_per_s": about.get("rate"),
        "state": about.get("state"),
        "sessions": about.get("sessions", []),
        "blocked": about.get("blocked", {}),
        "trouble": about.get("trouble", ""),
        "mirror": about.get("mirror"),
        "versions": about.get("versions", {}),
        "beats": beat.counter,
        "beat_mtime_ns": beat_path(layout, beat.worker_id).stat().st_mtime_ns,
    }


@click.command()
@json_option
@pass_app
def workers(app: App) -> None:
    """Hosts, slots, rates, versions, and what each worker runs or cannot run."""
    layout = app.layout()
    documents = [_document(layout, beat) for beat in read_beats(layout.files(), layout)]
    app.show({"workers": documents}, lambda: _text(documents))


def _text(documents: list[dict[str, Any]]) -> str:
    if not documents:
        return "no worker has ever beaten on this spool; start one with `arbd run`"
    head = ("WORKER", "STATE", "HOST", "PID", "SLOTS", "BUSY", "DONE", "PER SECOND", "VERSION", "SESSIONS")
    rows = [
        [
            str(d["worker_id"]),
            str(d["state"]) if d["alive"] else "gone",
            str(d["host"]),
            str(d["pid"]),
            str(d["slots"]),
            str(d["busy"]) if d["alive"] else "-",
            str(d["done"]),
            f"{d['rate_per_s'] or 0:,.1f}" if d["alive"] else "-",
            str(d["versions"].get("arbd", "?")),
            " ".join(d["sessions"]) if d["alive"] else "",
        ]
        for d in documents
    ]
    lines = [table(head, rows)]
    for d in documents:
        if d["alive"]:
            lines += [
                f"{d['worker_id']} cannot evaluate {visible_line(name)}: {visible_line(reason)}"
                for name, reason in d["blocked"].items()
            ]
            lines += (
                [f"{d['worker_id']} has trouble with the spool: {visible_line(d['trouble'])}"] if d["trouble"] else []
            )
            lines += _mirror(d["worker_id"], d["mirror"])
    return "\n".join(lines)


def _mirror(worker_id: str, mirror: Any) -> list[str]:
    """What there is to say of a worker's Redis mirror."""
    if not isinstance(mirror, dict):
        return []
    count, url = mirror.get("behind"), visible_line(str(mirror.get("url")))
    behind = f"{count:,} results behind" if isinstance(count, int) else "nobody knows how far behind"
    troubles = mirror.get("troubles")
    lines = [
        f"{worker_id} cannot mirror {visible_line(str(name))} to Redis: {visible_line(str(why))}"
        for name, why in (troubles.items() if isinstance(troubles, dict) else ())
    ]
    if mirror.get("state") == "down":
        error = visible_line(str(mirror.get("error")))
        return [f"{worker_id} cannot reach Redis at {url}, {behind}: {error}", *lines]
    return [f"{worker_id} mirrors to Redis at {url}, {behind}", *lines]
