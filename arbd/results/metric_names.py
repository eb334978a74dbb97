"""Whether results have the metrics that their job optimises, as far as the first rows tell: without NumPy, for `status`."""

from __future__ import annotations

import contextlib

from arbd.spool.files import Files
from arbd.spool.layout import SessionPaths
from arbd.spool.readable import first_record


def surely_has_metrics(files: Files, paths: SessionPaths) -> bool:
    """True when a segment begins with results that have every metric of the job; False says nothing."""
    job = first_record(files, paths.spec)
    goals = job.get("metrics") if isinstance(job, dict) else None
    if not isinstance(goals, list):
        return False
    wanted = {str(goal.get("name")) for goal in goals if isinstance(goal, dict)}
    with contextlib.suppress(FileNotFoundError):
        for name in files.names(paths.segments):
            batch = first_record(files, paths.segments / name)
            metrics = batch.get("m") if isinstance(batch, dict) else None
            if isinstance(metrics, dict) and wanted <= metrics.keys():
                return True
    return False
