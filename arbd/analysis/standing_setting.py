"""The standing setting of a standing job: what was promoted last, or else what won in its session before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from arbd.analysis.promotion import read_promotions
from arbd.analysis.table import load_table
from arbd.errors import ArbdError
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.standing.firing import DUE_FORM
from arbd.spool.standing.records import Setting, StandingJob
from arbd.values import dataclass


@dataclass(frozen=True, slots=True)
class StandingSetting:
    """Where a setting is from, and its parameters, fixed ones included."""

    setting: Setting
    parameters: Mapping[str, Any]


def standing_setting(files: Files, layout: SpoolLayout, job: StandingJob) -> StandingSetting | None:
    """What stands now; None where nothing was promoted and no session of the job has a winner."""
    return promoted_setting(files, layout, job) or _winner_before(layout, job)


def promoted_setting(files: Files, layout: SpoolLayout, job: StandingJob) -> StandingSetting | None:
    """What was promoted last of the job's sessions, or to its file; None where nothing was."""
    for entry in reversed(read_promotions(files, layout)):
        told, parameters = entry["provenance"], entry.get("parameters")
        session = str(told.get("session_id", ""))[:64]
        target = job.schedule.promoted_to
        is_meant = entry.get("file") == target if target else is_session_of(job.name, session)
        if not is_meant or not isinstance(parameters, dict):
            continue
        setting = Setting(
            kind="promoted",
            session=session,
            iteration=int(told.get("iteration") or 0),
            metric=str(told.get("metric", ""))[:300],
            value=_number(told.get("value")),
            at=str(entry.get("at", ""))[:40],
        )
        return StandingSetting(setting, parameters)
    return None


def _winner_before(layout: SpoolLayout, job: StandingJob) -> StandingSetting | None:
    """Of the last session of the job file that stands now that has one."""
    recent = list(job.fires)[-job.of_this :] if job.of_this else []
    for fire in reversed(recent):
        try:
            table = load_table(layout.root, fire.session)
        except ArbdError:
            # Purged, archived, rejected, or of another version.
            continue
        metric = table.spec.metrics[0].name
        if not table.completed.any() or metric not in table.metric_names:
            continue
        position = table.ranking.best(metric)
        if position is None:
            continue
        (best,) = table.results([position])
        setting = Setting(
            kind="winner",
            session=fire.session,
            iteration=best.iteration,
            metric=metric,
            value=_number(best.metrics.get(metric)),
        )
        return StandingSetting(setting, {**table.spec.fixed, **best.params})
    return None


def is_session_of(name: str, session: str) -> bool:
    """True for the name of a session that standing job `name` makes."""
    prefix = f"{name}-"
    return session.startswith(prefix) and DUE_FORM.fullmatch(session[len(prefix) :]) is not None


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
