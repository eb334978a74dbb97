"""A job file on its way into a spool: read, overridden, resolved, and put into a form that needs no other place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from arbd.cli.complete import complete_settings
from arbd.daemon.host.config import Config
from arbd.job.spec import JobSpec
from arbd.search.problem import EarlierResult, WarmStart
from arbd.spool.layout import SpoolLayout
from arbd.values import dataclass

if TYPE_CHECKING:
    from arbd.job.file import JobDocument
    from arbd.job.resolve_search import ReadPast
    from arbd.search.schedule import Schedule as SearchSchedule
    from arbd.spool.standing.calendar import Schedule

overrides_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    shell_complete=complete_settings,
    help="Override a field, e.g. tuning.seed=7.",
)


@dataclass(frozen=True, slots=True)
class PreparedJob:
    """A valid job: its spec, and the bytes to submit, in which paths are absolute and the session has its id.

    `schedule` where it is to be a standing job.
    """

    spec: JobSpec
    data: bytes
    schedule: Schedule | None = None


def read_job(
    config: Config,
    path: Path,
    overrides: Sequence[str],
    session_id: str | None,
    *,
    joins: bool = False,
    otherwise: str | None = None,
    slots: int | None = None,
    document: JobDocument | None = None,
) -> PreparedJob:
    """Read a job, once. JobError holds everything that is wrong with it.

    `session_id` goes before the job's own, and `otherwise` is for a job that has none. A job that `joins` its session,
    if that is there, starts from the results that the session started from, whatever became of them since, and has its
    schedule. `slots` are those of a new session, by default those of the spool's workers. `document` is what was read of
    it already, as one of several sessions of the file.
    """
    from arbd.job.file import apply_overrides, load_job
    from arbd.job.resolve import resolve_job
    from arbd.job.resolve_standing import standing_of

    document = document or load_job(path)
    if overrides:
        document = apply_overrides(document, overrides)
    layout = SpoolLayout(config.spool)
    past: ReadPast = _past_of(layout)
    name, begun = session_id or document.job.session_id, None
    if joins and name is not None:
        past = _as_begun(layout, name, past)
        begun = _schedule(layout, name)
    spec = resolve_job(
        document,
        base_dirs=(path.absolute().parent, Path.cwd(), *config.data_dirs),
        session_id=name or otherwise,
        search_paths=config.objective_paths,
        cache_dir=config.cache_dir,
        past=past,
        slots=lambda: slots or _slots(layout),
        begun=begun,
    )
    standing = standing_of(document, spec, name)
    data = _portable(document, spec, path.absolute().parent)
    return PreparedJob(spec, data, standing.schedule if standing is not None else None)


def _slots(layout: SpoolLayout) -> int | None:
    """Those of the spool's workers; None where there is none, or who may only drop jobs cannot see them."""
    from arbd.spool.liveness import live_slots

    try:
        return live_slots(layout.files(), layout) or None
    except OSError:
        return None


def _schedule(layout: SpoolLayout, name: str) -> SearchSchedule | None:
    """That of a session that is there."""
    from arbd.job.stored import read_spec
    from arbd.search.generations import schedule_of
    from arbd.spool.sessions import exists

    files, paths = layout.files(), layout.session(name)
    spec = read_spec(files, paths) if exists(files, paths) else None
    return schedule_of(spec) if spec is not None and spec.generation_size else None


def _past_of(layout: SpoolLayout) -> ReadPast:
    def read(source: str, folders: Sequence[Path]) -> list[EarlierResult]:
        from arbd.results.warm_start import past_reader

        return past_reader(layout)(source, folders)

    return read


def _as_begun(layout: SpoolLayout, name: str, otherwise: ReadPast) -> ReadPast:
    from arbd.job.stored import read_spec
    from arbd.spool.sessions import exists

    def read(source: str, folders: Sequence[Path]) -> list[EarlierResult] | WarmStart:
        files, paths = layout.files(), layout.session(name)
        past = read_spec(files, paths).past if exists(files, paths) else None
        return past if past is not None and past.source == source else otherwise(source, folders)

    return read


def _portable(document: JobDocument, spec: JobSpec, folder: Path) -> bytes:
    from arbd import strict_yaml

    job: dict[str, Any] = document.value
    if spec.session_id is not None:
        job["session_id"] = spec.session_id
    if spec.data:
        # The windows of a standing job are those of each of its sessions.
        windows = document.job.schedule is not None
        given = job["data"] if windows else list(spec.data)
        job["data"] = [_anywhere(each, name) for each, name in zip(given, spec.data, strict=True)]
    if spec.scenarios:
        if "scenarios" in job:
            job["scenarios"] = list(spec.scenarios)
        else:
            job["tuning"] = {**job["tuning"], "scenarios": list(spec.scenarios)}
    if spec.objective.kind == "command":
        job["objective"] = {**job["objective"], "command": list(spec.objective.target)}
    source = job["tuning"].get("start_from")
    if isinstance(source, str) and source.endswith(".csv"):
        found = next((base / source for base in (folder, Path.cwd()) if (base / source).is_file()), Path(source))
        job["tuning"] = {**job["tuning"], "start_from": str(found.resolve())}
    return strict_yaml.dump(job).encode()


def _anywhere(given: Any, name: str) -> Any:
    """What a job says of data files, with the folder that its resolved name tells."""
    from arbd.paper.market.days import DayFiles

    found = DayFiles.parse(name)
    return {**given, "folder": str(found.folder)} if isinstance(given, dict) and found is not None else name
