"""How a daemon turns the bytes of a dropped job into a spec, under its own rules of what may run."""

from __future__ import annotations

from collections.abc import Callable

from arbd.daemon.host.config import Config
from arbd.errors import JobError
from arbd.job.policy import ObjectivePolicy
from arbd.job.spec import JobSpec
from arbd.spool.layout import SpoolLayout
from arbd.spool.liveness import live_slots


def warm_up() -> None:
    """Import what resolving needs, before a job's time is taken."""
    import arbd.job.file  # noqa: PLC0415 - see `job_resolver`
    import arbd.job.resolve  # noqa: PLC0415 - as above
    import arbd.results.warm_start  # noqa: F401, PLC0415 - as above


def _slots(layout: SpoolLayout) -> int:
    """Those of the farm now; 0 where that cannot be seen."""
    try:
        return live_slots(layout.files(), layout)
    except OSError:
        return 0


def job_resolver(config: Config) -> Callable[[bytes, str], JobSpec]:
    """A function of (bytes, name) that raises JobError with everything that is wrong."""
    policy = ObjectivePolicy(config.allow, config.data_dirs)
    layout = SpoolLayout(config.spool)

    def resolve(data: bytes, name: str) -> JobSpec:
        # The validating models take half a second to import; a daemon that only works on sessions never needs them.
        from arbd.job.file import parse_job  # noqa: PLC0415
        from arbd.job.resolve import resolve_job  # noqa: PLC0415
        from arbd.results.warm_start import past_reader  # noqa: PLC0415

        document = parse_job(data, name)
        spec = resolve_job(
            document,
            base_dirs=config.data_dirs,
            search_paths=config.objective_paths,
            cache_dir=config.cache_dir,
            reading=policy.reading,
            may_run=policy.check,
            past=past_reader(layout, policy.reading),
            slots=_slots(layout) or config.slots,
        )
        if spec.n > config.max_iterations:
            most = f"{spec.n:,} iterations; the maximum here is {config.max_iterations:,} (`max_iterations` in the settings)"
            raise JobError(name, [document.problem(most, "tuning", "max_iterations")])
        return spec

    return resolve
