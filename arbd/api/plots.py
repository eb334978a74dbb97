"""`session.plot`: what a session tells, as charts; of the same numbers as report and page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from arbd.api.chart import Cells, Chart, Marks, Panel, shown
from arbd.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from arbd.analysis.table import ResultTable

# Lines of a parallel plot; the best tenth is drawn over the others.
LINES = 300
NAN = float("nan")
PROBABILITIES = ("psr", "dsr")


class Plotted(Protocol):
    """What is asked of a session; see `arbd.Session`."""

    session_id: str

    def _table(self) -> ResultTable: ...

    @property
    def best(self) -> Any:
        """See the class."""

    def replay(self, iteration: int) -> Any:
        """See the class."""

    def verdict(self) -> dict[str, Any]:
        """See the class."""
        ...


class Plots:
    """Each method gives a figure of plotly where that is installed, else a chart that notebooks show as SVG.

    `metric` is by default the job's first. NotFoundError while there is nothing to draw.
    """

    def __init__(self, session: Plotted) -> None:
        self._session = session

    def _figures(self, metric: str | None) -> tuple[ResultTable, str, dict[str, Any]]:
        from arbd.analysis.report.content import figure_values
        from arbd.registry import hint

        table = self._session._table()
        name = metric or table.spec.metrics[0].name
        if table.metric_names and name not in table.metric_names:
            raise UsageError(
                f"session {table.session_id} has no metric {name!r}; {hint(name, table.metric_names)}"
                f"metrics are: {', '.join(table.metric_names)}"
            )
        values = figure_values(table, name)
        if values is None:
            raise NotFoundError(f"session {table.session_id} has no completed iteration to draw yet")
        return table, name, values

    def history(self, metric: str | None = None) -> Any:
        """Every iteration's metric, and the best so far."""
        from arbd.analysis.report.content import own_search_size

        table, name, found = self._figures(metric)
        best = found["best"]
        # A step at each improvement, up to the last iteration.
        x, y = [], []
        for at, (iteration, value) in enumerate(zip(best["iteration"], best["values"], strict=True)):
            ends = [*best["iteration"][at + 1 :], max(iteration, min(len(table), own_search_size(table)))]
            x += [iteration, ends[0]]
            y += [value, value]
        marks = (Marks("points", found["iteration"], found["values"], name), Marks("line", x, y, "best so far"))
        return shown(Chart(f"{table.session_id}: history", (Panel("iteration", name, marks),)))

    def intermediate_values(self) -> Any:
        """What iterations reported on their way (`trial.report`): the best, the pruned ones and others, by step."""
        table, _, found = self._figures(None)
        told = found["intermediate"]
        if told is None:
            raise NotFoundError(
                f"session {table.session_id} has no intermediate values: an objective tells them by trial.report(step, value)"
            )
        groups: dict[str, list[dict[str, Any]]] = {"completed": [], "pruned": [], "the best": []}
        for line in told["lines"]:
            is_winner = line["iteration"] == told["winner"]
            groups["the best" if is_winner else "pruned" if line["kind"] == "pruned" else "completed"].append(line)
        marks = [Marks("line", *_apart(lines), said) for said, lines in groups.items() if lines]
        return shown(Chart(f"{table.session_id}: intermediate values", (Panel("step", told["metric"], marks),)))

    def slice(self, metric: str | None = None) -> Any:
        """The metric over each parameter."""
        table, name, found = self._figures(metric)
        panels = []
        for dimension in table.spec.space.dimensions:
            names = tuple(str(value) for value in getattr(dimension, "values", ()))
            marks = (Marks("points", found["params"][dimension.name], found["values"]),)
            log = bool(getattr(dimension, "log", False))
            panels.append(Panel(dimension.name, name, marks, names=names, log_x=log))
        return shown(Chart(f"{table.session_id}: slices", panels))

    def contour(self, metric: str | None = None) -> Any:
        """The mean of the metric over each pair of the parameters that matter most; the best is marked."""
        table, name, found = self._figures(metric)
        panels = [
            Panel(one["x"], one["y"], cells=Cells(one["x_names"], one["y_names"], one["means"], one["best"]))
            for one in found["contours"]
        ]
        if not panels:
            raise NotFoundError(f"session {table.session_id} has no two parameters to draw {name} over")
        return shown(Chart(f"{table.session_id}: {name}", panels))

    def parallel(self, metric: str | None = None) -> Any:
        """Each iteration as a line across its parameters, from the lowest value (0) to the highest (1)."""
        import numpy as np

        table, name, found = self._figures(metric)
        names = [*table.spec.space.names, name]
        columns = [
            np.asarray([*found["params"].values(), found["values"]][at], dtype=float) for at in range(len(names))
        ]
        scaled = []
        for column in columns:
            low, high = np.nanmin(column), np.nanmax(column)
            scaled.append((column - low) / (high - low) if high > low else np.full(len(column), 0.5))
        losses = columns[-1] * (1 if table.ranking.ascending(name, None) else -1)
        order = np.argsort(losses, kind="stable")[:LINES]
        best, rest = order[: max(1, len(order) // 10)], order[max(1, len(order) // 10) :]

        def lines(rows: Any, said: str) -> Marks:
            # The gap between two lines is in y.
            x = [value for _ in rows for value in (*range(len(names)), 0)]
            y = [value for row in rows for value in (*(float(column[row]) for column in scaled), NAN)]
            return Marks("line", x, y, said)

        panel = Panel("", "share of the range", (lines(rest, "others"), lines(best, "best tenth")), names=names)
        return shown(Chart(f"{table.session_id}: parallel", (panel,)))

    def importance(self, metric: str | None = None) -> Any:
        """How much of the metric's variance each parameter explains, and how much it sets the best apart (PED-ANOVA)."""
        table, name, found = self._figures(metric)
        names = [one["name"] for one in found["importance"]]
        shares = {"share of the variance": "share", "among the better half": "better"}
        panels = []
        for said, key in shares.items():
            values = [one[key] for one in found["importance"]]
            # Too few results tell nothing, and a metric that no parameter moves has no shares.
            if None not in values and any(values):
                panels.append(Panel("", said, (Marks("bars", range(len(names)), values),), names=names))
        return shown(Chart(f"{table.session_id}: importance for {name}", panels))

    def front(self) -> Any:
        """The first two metrics of a job of several, and their Pareto front."""
        table, _, found = self._figures(None)
        pareto = found["pareto"]
        if pareto is None:
            raise UsageError(f"session {table.session_id} optimises one metric: it has a best, and no front")
        x, y = pareto["names"]
        marks = []
        for said, wanted in (("others", False), ("front", True)):
            own = [at for at, in_front in enumerate(pareto["in_front"]) if in_front is wanted]
            marks.append(Marks("points", [pareto["x"][at] for at in own], [pareto["y"][at] for at in own], said))
        return shown(Chart(f"{table.session_id}: front", (Panel(x, y, marks),)))

    def equity(self, iteration: int | None = None) -> Any:
        """Equity of an iteration of a paper session, by default the best one's, market by market; it is run again here."""
        number = self._session.best.iteration if iteration is None else iteration
        equity = self._session.replay(number).equity
        if not equity:
            raise UsageError(
                f"session {self._session.session_id} has an objective of its own: it has no equity to draw"
            )
        panels = [
            Panel(
                "grid step", source.rpartition("/")[2], (Marks("line", range(len(values)), [float(v) for v in values]),)
            )
            for source, values in equity.items()
        ]
        return shown(Chart(f"{self._session.session_id}: equity of iteration {number}", panels))

    def validation(self) -> Any:
        """The probabilities of the verdict: that the winner's Sharpe ratio is real, and that the choice is overfitted."""
        found = self._session.verdict()
        values = {name.upper(): found[name] for name in PROBABILITIES}
        values |= {"1 - PBO": _rest(found["pbo"]["value"]), "1 - SPA p": _rest(found["spa"]["p_consistent"])}
        known = {name: value for name, value in values.items() if value is not None}
        if not known:
            raise NotFoundError(f"nothing of the verdict can be computed: {'; '.join(map(str, found['reasons']))}")
        names = list(known)
        panel = Panel("", "probability", (Marks("bars", range(len(names)), list(known.values())),), names=names)
        return shown(Chart(f"{self._session.session_id}: {found['verdict']}", (panel,)))


def _apart(lines: list[dict[str, Any]]) -> tuple[list[float], list[float]]:
    """Lines behind each other; the gap between two of them is in y."""
    x = [step for line in lines for step in (*line["steps"], line["steps"][-1])]
    y = [value for line in lines for value in (*line["values"], NAN)]
    return x, y


def _rest(value: float | None) -> float | None:
    return None if value is None else 1 - value
