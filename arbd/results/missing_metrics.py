"""A metric that a job optimises and no result has: found in the results, told with the name that is nearest to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field

from arbd.job.spec import JobSpec
from arbd.near_names import nearest
from arbd.results.segments import SegmentReader
from arbd.results.store_format import has_results
from arbd.results.store_reader import StoredResults
from arbd.spool.files import Files
from arbd.spool.layout import SessionPaths
from arbd.spool.ledger import COMPLETED
from arbd.values import dataclass

# So many results, or the first generation, say enough about the names that an objective returns.
ENOUGH_RESULTS = 20
MAX_SHOWN = 8


def missing_text(missing: Sequence[str], returned: Sequence[str]) -> str:
    """One line: which metric is missing, what there is instead, and which name is nearest."""
    name = missing[0]
    others = [other for other in returned if other != "budget"]
    near = nearest(name, others, 0.4) or others[:1]
    shown = ", ".join(others[:MAX_SHOWN]) + (", ..." if len(others) > MAX_SHOWN else "")
    hint = f"did you mean {near[0]}? " if near else ""
    return f"no result has the metric {name}, which the job optimises: {hint}the objective returns {shown or 'none'}"


def missing_metric(spec: JobSpec, returned: Sequence[str]) -> str:
    """The same of a job and the names that its results have, or '' when nothing is missing."""
    missing = sorted({goal.name for goal in spec.metrics}.difference(returned))
    return missing_text(missing, returned) if missing else ""


@dataclass(slots=True)
class MissingMetrics:
    """Looks for the metrics of a session in its results; each `look` reads what is new.

    Cheap once they were all seen, which is with the first result unless something is wrong.
    """

    files: Files
    paths: SessionPaths
    spec: JobSpec
    completed: int = 0
    names: dict[str, None] = field(default_factory=dict)
    unseen: set[str] = field(init=False)
    _reader: SegmentReader = field(init=False)

    def __post_init__(self) -> None:
        self.unseen = {goal.name for goal in self.spec.metrics}
        self._reader = SegmentReader(self.files, self.paths)

    def look(self) -> str:
        """The text for people when enough results are there and none has a metric, else ''."""
        if not self.unseen:
            return ""
        if has_results(self.files, self.paths):
            results = StoredResults(self.files, self.paths)
            self._saw(results.metric_names, results.counts[0])
        else:
            for batch in self._reader.poll():
                self._saw(tuple(batch.rows.metrics), int((batch.rows.status == COMPLETED).sum()))
                if not self.unseen:
                    return ""
        enough = min(self.spec.n, max(ENOUGH_RESULTS, self.spec.generation_size))
        if self.completed < enough or not self.unseen:
            return ""
        return missing_text(sorted(self.unseen), tuple(self.names))

    def _saw(self, names: Sequence[str], completed: int) -> None:
        if completed:
            self.completed += completed
            self.unseen.difference_update(names)
            self.names.update(dict.fromkeys(names))
