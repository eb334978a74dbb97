"""Turns the segments of an exhausted session into `results.msgpack` (and `results.csv`).

Keeps I1: iterations of which no row can be read (a damaged segment, a lost host) are found here and ordered
to run again before anybody calls the session done.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from arbd.job.code import expected_parts
from arbd.job.spec import JobSpec
from arbd.job.stored import read_spec
from arbd.results.columns import RowRules
from arbd.results.csv_writer import csv_lines
from arbd.results.merge import Merge
from arbd.results.session_code import SessionCode
from arbd.results.store_format import encode_results
from arbd.results.store_reader import StoredResults
from arbd.results.trials import keep_records, records_of
from arbd.spool import ledger
from arbd.spool.files import Files
from arbd.spool.layout import SessionPaths, SpoolLayout
from arbd.spool.ledger import LedgerState
from arbd.spool.ledger_records import LedgerRecord
from arbd.spool.queue import SessionQueue
from arbd.spool.readable import require_readable
from arbd.values import dataclass

CSV_PATIENCE_S = 10.0


@dataclass(frozen=True, slots=True)
class CompactionReport:
    """How many iterations were ordered to run again (0: the session is done), and which places are damaged.

    `busy` when another worker is at it.
    """

    again: int = 0
    damage: tuple[str, ...] = ()
    busy: bool = False


def compact(files: Files, paths: SessionPaths) -> CompactionReport:
    """Compact a session if every iteration is recorded. VersionError when another version wrote some of it.

    One worker at a time, which spares the others the work; two would do no harm, as both write the same rows.
    """
    held = files.try_lock(paths.compaction_lock)
    if held is None:
        return CompactionReport(busy=True)
    try:
        return _compact(files, paths)
    finally:
        held.release()


def _compact(files: Files, paths: SessionPaths) -> CompactionReport:
    queue = SessionQueue(files, paths)
    if not queue.refresh().exhausted or queue.state.over:
        return CompactionReport()
    # Results of another version are not written over, and rows of one are not called missing.
    require_readable(files, paths)
    # What a compaction that was killed left; nobody else writes here now.
    for name in (paths.results.name, paths.spec.name):
        files.remove_temporaries(paths.folder, of=name)
    files.remove_temporaries(paths.generations)
    spec = read_spec(files, paths)
    rules = RowRules.of(spec)
    merge = Merge(files, paths, rules)
    missing = merge.missing(queue.state.n, queue.state.epoch)
    # Rows of code that was given up: those that were on their way when it was.
    given_up = SessionCode(files, paths, expected_parts(spec)).given_up()
    outdated = merge.choose(lambda rows: rows.made_with(given_up)) if given_up else None
    if not missing and not outdated:
        files.publish_stream(paths.results, encode_results(paths.session_id, queue.state.n, merge))
        if spec.results.csv:
            _write_csv(files, paths, spec, rules)
        # Before anybody calls the session done, so that no session can be done and not counted.
        keep_records(files, SpoolLayout(paths.folder.parent.parent), records_of(paths.session_id, spec, queue.state.n))

    def decide(state: LedgerState) -> Sequence[LedgerRecord]:
        if not state.exhausted or state.over:
            return ()
        orders: list[LedgerRecord] = []
        if missing:
            surplus = [told - found for told, found in zip(state.counts, merge.counts, strict=True)]
            orders.append(ledger.again(missing, surplus, "their results could not be read"))
        if outdated:
            again = outdated.iterations.spans(queue.state.epoch + 1)
            orders.append(ledger.again(again, outdated.counts, "their code was given up"))
        if orders:
            return orders
        return (ledger.compacted(merge.counts, merge.duplicates),)

    queue.change(decide)
    return CompactionReport(
        sum(span.count for span in missing) + len(outdated or ()),
        tuple(f"{found.path}, bytes {found.damage.offset} to {found.damage.end}" for found in merge.damage),
    )


def _write_csv(files: Files, paths: SessionPaths, spec: JobSpec, rules: RowRules) -> None:
    """The results that were just published as a table."""
    stored = StoredResults(files, paths, rules)
    lines = csv_lines(spec, paths.session_id, stored.groups(), metric_names=stored.metric_names)
    with contextlib.ExitStack() as stack:
        # The worker that follows the session lets go of the table now; one that hangs is not waited for.
        with contextlib.suppress(TimeoutError):
            stack.enter_context(files.lock(paths.csv_lock, CSV_PATIENCE_S))
        files.remove_temporaries(paths.folder, of=paths.results_csv.name)
        files.publish_stream(paths.results_csv, lines)
