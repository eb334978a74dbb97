"""Writes the jobs that standing jobs make, under a worker's settings."""

from __future__ import annotations

from dataclasses import replace

from arbd.analysis.standing_setting import standing_setting
from arbd.daemon.host.config import Config
from arbd.errors import ArbdError
from arbd.job.fired_job import point_of, read_standing_file, write_fired_job
from arbd.job.policy import ObjectivePolicy
from arbd.named_file import NOBODY, Reading
from arbd.results.warm_start import MAX_PAST_RESULTS
from arbd.spool.layout import SpoolLayout
from arbd.spool.ledger import COMPLETED
from arbd.spool.queue import SessionQueue
from arbd.spool.standing.firing import Firing, Written
from arbd.spool.standing.folder import StandingFolder, read_job_of
from arbd.spool.standing.records import MAX_TEXT_CHARS, FireRecord
from arbd.values import dataclass


@dataclass(slots=True)
class StandingWriter:
    """A function of a standing job and what is due. ArbdError or OSError where its job cannot be written now."""

    config: Config
    reading: Reading = NOBODY

    def __call__(self, folder: StandingFolder, firing: Firing) -> Written:
        """See `arbd.spool.standing.firing`."""
        config, layout = self.config, folder.layout
        standing = read_standing_file(read_job_of(folder), folder.name)
        notes: list[str] = []
        found = standing_setting(folder.files, layout, folder.state)
        setting, point = None, None
        if found is not None:
            setting = found.setting
            point, why = point_of(standing, found.parameters)
            if point is None:
                notes.append(
                    f"the standing setting of session {setting.session} is not evaluated: {why}"[:MAX_TEXT_CHARS]
                )
                setting = None
        warm = ""
        if standing.may_start_from_earlier:
            warm = next((fire.session for fire in _recent(folder) if _has_results(folder, layout, fire.session)), "")
        elif standing.learns and folder.state.last is not None:
            notes.append("starts from no earlier results: these may have seen what its validation tests on")
        data = write_fired_job(
            standing,
            folder.name,
            firing.session,
            base_dirs=config.data_dirs,
            reading=replace(ObjectivePolicy(config.allow, config.data_dirs).reading, reading=self.reading),
            warm=warm,
            first=point,
        )
        return Written(data, warm, setting, tuple(notes))


def _recent(folder: StandingFolder) -> list[FireRecord]:
    """Firings of the job file that stands now, the last one first."""
    state = folder.state
    return list(state.fires)[-state.of_this :][::-1] if state.of_this else []


def _has_results(folder: StandingFolder, layout: SpoolLayout, session: str) -> bool:
    """True when another search can start from a session."""
    try:
        state = SessionQueue(folder.files, layout.session(session)).refresh()
    except (ArbdError, FileNotFoundError):
        return False
    return state.over and state.counts[COMPLETED] > 0 and state.counted <= MAX_PAST_RESULTS
