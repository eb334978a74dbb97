"""What workers wrote, made anew from the compacted results where these alone were kept: who goes on writes beside it."""

from __future__ import annotations

import numpy as np

from arbd.errors import UsageError
from arbd.job.spec import JobSpec
from arbd.results.columns import RowRules
from arbd.results.merge import Merge
from arbd.results.segments import SegmentWriter
from arbd.results.store_format import has_results
from arbd.results.store_reader import StoredResults
from arbd.spool.files import Files
from arbd.spool.layout import SessionPaths


def bring_segments_back(files: Files, paths: SessionPaths, spec: JobSpec, epoch: int) -> None:
    """For the holder of the ledger's lock, of a session that is done. UsageError when its results were purged, too."""
    rules = RowRules.of(spec)
    if not Merge(files, paths, rules).missing(spec.n, epoch):
        return
    if not has_results(files, paths):
        raise UsageError(f"the results of session {paths.session_id} were purged: there is nothing to go on from")
    files.make_folder(paths.segments)
    # A writer of its own for each worker whose rows these are. Should it die, the next one writes all of it once more.
    incarnation, writers = int(files.system.token(8), 16), dict[str, SegmentWriter]()
    for group in StoredResults(files, paths, rules).groups(blocks=True):
        for index in np.unique(group.worker).tolist():
            worker = group.workers[index]
            if worker not in writers:
                writers[worker] = SegmentWriter(files, paths, worker, incarnation, "0")
            writers[worker].write(group.rows.select(np.flatnonzero(group.worker == index)))
    for writer in writers.values():
        writer.sync()
        writer.close()
