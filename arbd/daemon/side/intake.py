"""How a daemon turns the bytes of a dropped job into a spec, under its own rules of what may run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from arbd.daemon.host.config import Config
from arbd.errors import ArbdError, JobError
from arbd.job.policy import ObjectivePolicy
from arbd.job.spec import JobSpec
from arbd.search.problem import EarlierResult
from arbd.spool.files import Files
from arbd.spool.job_array import ArrayMember, JobArray
from arbd.spool.layout import SpoolLayout
from arbd.spool.liveness import live_slots
from arbd.spool.queue import SessionQueue
from arbd.spool.session_index import ended_sessions
from arbd.spool.sessions import ResolvedJob
from arbd.spool.standing.folder import StandingSpec
from arbd.spool.system import SystemClock
from arbd.spool.user_limits import LimitTable
from arbd.spool.user_space import SpaceOfUsers

MB = 1_000_000

if TYPE_CHECKING:
    from arbd.job.file import JobDocument


def warm_up() -> None:
    """Import what resolving needs, before a job's time is taken."""
    import arbd.job.file  # noqa: PLC0415 - see `job_resolver`
    import arbd.job.resolve  # noqa: PLC0415 - as above
    import arbd.job.resolve_standing  # noqa: PLC0415 - as above
    import arbd.paper.market.cache  # noqa: PLC0415 - as above
    import arbd.paper.scenario  # noqa: PLC0415 - as above
    import arbd.results.warm_start  # noqa: F401, PLC0415 - as above


def _slots(layout: SpoolLayout) -> int:
    """Those of the farm now; 0 where that cannot be seen."""
    try:
        return live_slots(layout.files(), layout)
    except OSError:
        return 0


def job_resolver(config: Config) -> Callable[[bytes, str], JobSpec | StandingSpec | JobArray]:
    """A function of (bytes, name) that raises JobError with everything that is wrong."""
    resolve = _resolver(config)

    def resolved(data: bytes, name: str) -> JobSpec | StandingSpec | JobArray:
        document = _parsed(data, name)
        if document.job.each is not None:
            return _array(document, name, resolve)
        spec = resolve(document, name)
        if document.job.schedule is None:
            return spec
        from arbd.job.resolve_standing import standing_of  # noqa: PLC0415 - as below

        return standing_of(document, spec, document.job.session_id) or spec

    return resolved


def session_resolver(config: Config) -> Callable[[bytes, str], JobSpec]:
    """The same for a job of which a session is made, or was."""
    resolve = _resolver(config)
    return lambda data, name: resolve(_parsed(data, name), name)


def _array(document: JobDocument, name: str, resolve: Callable[[JobDocument, str], JobSpec]) -> JobArray:
    """Every session that the job asks for, resolved. JobError of the first that is wrong."""
    from arbd import strict_yaml  # noqa: PLC0415 - of few jobs
    from arbd.job.each import array_of  # noqa: PLC0415 - as above

    found = array_of(document, document.job.session_id)
    assert found is not None and document.job.session_id is not None
    members = []
    for session_id, member in found:
        text = strict_yaml.dump(member.value)
        members.append(ArrayMember(session_id, text.encode(), resolve(member, name)))
    return JobArray(document.job.session_id, tuple(members))


def _parsed(data: bytes, name: str) -> JobDocument:
    # The validating models take half a second to import; a daemon that only works on sessions never needs them.
    from arbd.job.file import parse_job  # noqa: PLC0415

    return parse_job(data, name)


def _resolver(config: Config) -> Callable[[JobDocument, str], JobSpec]:
    policy = ObjectivePolicy(config.allow, config.data_dirs)
    layout = SpoolLayout(config.spool)

    def resolve(document: JobDocument, name: str) -> JobSpec:
        from arbd.job.resolve import resolve_job  # noqa: PLC0415 - as in `_parsed`

        def past(source: str, folders: Sequence[Path]) -> list[EarlierResult]:
            from arbd.results.warm_start import past_reader  # noqa: PLC0415

            return past_reader(layout, policy.reading)(source, folders)

        spec = resolve_job(
            document,
            base_dirs=config.data_dirs,
            search_paths=config.objective_paths,
            cache_dir=config.cache_dir,
            reading=policy.reading,
            may_run=policy.check,
            past=past,
            slots=lambda: _slots(layout) or config.slots,
        )
        if spec.n > config.max_iterations:
            most = f"{spec.n:,} iterations; the maximum here is {config.max_iterations:,} (`max_iterations` in the settings)"
            problem = replace(document.problem(most, "tuning", "max_iterations"), here=True)
            raise JobError(name, [problem])
        return spec

    return resolve


class Admit(Protocol):
    """Says why a user may not have a job here, or ''; `coming` are those of the same file that come before it."""

    def __call__(self, user: str, job: ResolvedJob, coming: int = 0) -> str:
        """See the class."""
        ...


def admission(config: Config, files: Files) -> Admit:
    """By the limits of the settings."""
    table, layout = LimitTable(config.limits), SpoolLayout(config.spool)
    space = SpaceOfUsers(files, layout, SystemClock())
    if not table.entries:
        return lambda user, job, coming=0: ""

    def admit(user: str, job: ResolvedJob, coming: int = 0) -> str:
        limits = table.of(user)
        execution = job.to_plain().get("execution", {})
        where = f"`limits` for {user} in the daemon's settings"
        priority = execution.get("priority", 0)
        if limits.max_priority is not None and priority > limits.max_priority:
            return f"execution: priority is {priority}; the maximum is {limits.max_priority} ({where})"
        for name, most in (("timeout_s", limits.timeout_s), ("memory_mb", limits.memory_mb)):
            told = execution.get(name)
            if most is not None and (told is None or told > most):
                return f"execution: {name} is {told or 'not given'}; it must be at most {most:g} ({where})"
        if limits.queued is not None and (count := _going_on(files, layout, user) + coming) >= limits.queued:
            return f"{user} has {count} sessions that are not over; the maximum is {limits.queued} ({where}): cancel some, or wait"
        if limits.spool_mb is not None and (used := space.used(user)) > limits.spool_mb * MB:
            return (
                f"the sessions of {user} take {used / MB:,.0f} MB of the spool; the maximum is {limits.spool_mb:,} ({where}): "
                f"`arbctl purge --user {user} --segments` frees what results hold already, `arbctl archive` and `purge` more"
            )
        return ""

    return admit


def rejected_bound(config: Config) -> Callable[[str], int | None]:
    """How many bytes of refused jobs a user may have in `rejected/`; None is any number."""
    table = LimitTable(config.limits)

    def most(user: str) -> int | None:
        found = table.of(user).rejected_mb
        return None if found is None else found * MB

    return most


def _going_on(files: Files, layout: SpoolLayout, user: str) -> int:
    """How many sessions of a user are not over."""
    names = files.names(layout.sessions)
    ended = ended_sessions(files, layout, names)
    count = 0
    for name in names:
        if name.startswith(".") or name in ended:
            continue
        # What cannot be read, or is being made, is nobody's yet.
        with contextlib.suppress(ArbdError, OSError):
            state = SessionQueue(files, layout.session(name)).refresh()
            count += state.provenance.owner == user and not state.over
    return count
