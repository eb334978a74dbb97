"""From a job of the right form to a spec: do its contents make sense, and what do they come to?

Everything that is wrong is found at once. Keeps I5: defaults, paths, digests and N are fixed here, before any
host starts, and never decided again.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from arbd.errors import ArbdError, DataError, JobError, Problem, UsageError
from arbd.job.auto_method import with_method
from arbd.job.code import MODULE, base_parts
from arbd.job.file import JobDocument
from arbd.job.model import AUTO, CommandObjective, PythonObjective
from arbd.job.model_data import DataFolder
from arbd.job.modules import locate, module_file
from arbd.job.oversize import faults
from arbd.job.policy import interpreter_fault
from arbd.job.python_source import fault_of
from arbd.job.resolve_aggregation import needs_trial, told_of_blocks
from arbd.job.resolve_quotes import QuoteFiles, days_of
from arbd.job.resolve_search import CountSlots, ReadPast, SearchOptions, nobody_knows, resolve_metrics
from arbd.job.resolve_space import changed_meanings, lowest, resolve_space
from arbd.job.resolve_validation import ValidationOptions
from arbd.job.sanity import sanity_notes
from arbd.job.spec import Execution, JobSpec, ObjectiveSpec, ResultOptions
from arbd.job.validation import ValidationSpec
from arbd.named_file import (
    ANY,
    MAX_DATA_BYTES,
    MAX_PROGRAM_BYTES,
    MissingFileError,
    ReadRule,
    RefusedError,
    first_of,
    open_named,
)
from arbd.paper import params
from arbd.paper.market.days import DayFiles
from arbd.paper.market.prepared import grid_points
from arbd.paper.market.quotes import IntArray
from arbd.paper.scenario import Scenario, read_scenario
from arbd.search.sampler import AdaptiveMethod, PlanMethod, PlanSize
from arbd.search.samplers import METHODS, built_in, planned
from arbd.search.schedule import Schedule
from arbd.search.space import SearchSpace, Value
from arbd.search.versions import sampler_versions
from arbd.strict_yaml import MAX_BYTES

MAX_PLAN = 10**12
MAX_GRID_POINTS = 10**6


def resolve_job(
    document: JobDocument,
    *,
    base_dirs: Sequence[Path],
    session_id: str | None = None,
    search_paths: Sequence[Path] = (),
    cache_dir: Path | None = None,
    reading: ReadRule = ANY,
    may_run: Callable[[ObjectiveSpec], str | None] = lambda objective: None,
    past: ReadPast | None = None,
    slots: CountSlots = nobody_knows,
    begun: Schedule | None = None,
) -> JobSpec:
    """Resolve a job. Relative paths are looked for in `base_dirs`, Python objectives in `search_paths` too.

    `reading` is the rule for files that the job names; `may_run` says why the objective may not run, before anything of
    it is opened. `past` reads what `start_from` names. Quotes are read, so that bad ones are told here; through the
    cache, where one is named. `slots` says how many will work on it, as far as is known, and is asked of a job that leaves
    its generations to arbd; `begun` is the schedule of its session, where that is there.
    JobError holds everything that is wrong, each with its line and its field.
    """
    document, notices = with_method(document) if document.job.tuning.method == AUTO else (document, [])
    too_large = [document.problem(message, *path) for message, path in faults(document.job)]
    if too_large:
        raise JobError(document.document.source, [*document.faults, *too_large])
    resolver = _Resolver(document, base_dirs, search_paths, cache_dir, reading, may_run, past, begun or slots)
    resolver.notices += notices
    spec = resolver.resolve(session_id)
    if resolver.problems:
        order = sorted(resolver.problems, key=lambda p: (p.line, p.column, p.field))
        raise JobError(document.document.source, order)
    assert spec is not None
    return spec


class _Resolver:
    def __init__(
        self,
        document: JobDocument,
        base_dirs: Sequence[Path],
        search_paths: Sequence[Path],
        cache_dir: Path | None,
        reading: ReadRule,
        may_run: Callable[[ObjectiveSpec], str | None],
        past: ReadPast | None,
        slots: Schedule | CountSlots,
    ) -> None:
        self._reading = reading
        self._may_run = may_run
        self._past = past
        self._slots = slots
        self._document = document
        self._job = document.job
        self._base_dirs = list(dict.fromkeys(Path(folder) for folder in base_dirs))
        self._search_paths = [*search_paths, *self._base_dirs]
        self.problems: list[Problem] = list(document.faults)
        self.notices: list[str] = []
        self._digests: dict[str, str] = {}
        self._scenarios: dict[str, Scenario] = {}
        self._profiles: dict[str, Mapping[str, Value]] = {}
        self._times: dict[str, list[IntArray]] = {}
        self._quotes = QuoteFiles(
            cache_dir, self._job.on_bad_rows, reading, self._digests, self._times, notices=self.notices,
            of=len(self._job.data) + len(self._job.tuning.scenarios),
        )  # fmt: skip
        self._takes_window = True
        self._method = self._declared(document.job.tuning.method)

    def wrong(self, message: str, *path: str | int, here: bool = False) -> None:
        """Note what is wrong; `here` when another host may see it otherwise."""
        self.problems.append(replace(self._document.problem(message, *path), here=here))

    def _declared(self, method: str) -> PlanMethod | AdaptiveMethod:
        """What the method declares; of one that cannot be loaded, which is noted, what one needs that needs nothing."""
        try:
            found = METHODS.get(method)
            if METHODS.plugin(method) is not None:
                sampler_versions(method)
        except UsageError as error:
            self.wrong(str(error), "tuning", "method")
            return next(plan for plan in map(planned, built_in(learns=False)) if plan.size is not None)
        return found

    def resolve(self, session_id: str | None) -> JobSpec | None:
        job = self._job
        self._check_mode(job.mode, session_id := session_id or job.session_id)
        paper = (objective := self._objective()).kind == "paper"
        data = [self._data(given, index) for index, given in enumerate(job.data)]
        scenarios = [self._file(name, "tuning", "scenarios", index) for index, name in enumerate(job.tuning.scenarios)]
        self._check_markets(paper, [s for s in scenarios if s])
        space, fixed = resolve_space(job, paper=paper, wrong=self.wrong)
        if paper:
            self._check_together([d for d in data if d], space, fixed)
            self.notices += changed_meanings(job)
        metrics, aggregation = resolve_metrics(job, objective.kind, space, fixed, self._scenarios, wrong=self.wrong)
        points = self._grid_points(space)
        n = self._count(space, points) if space.dimensions else 0
        search = SearchOptions.of(
            self._document, self._method, space, fixed, metrics, n,
            paper=paper, aggregation=aggregation, past=self._past, folders=self._base_dirs, slots=self._slots,
        )  # fmt: skip
        self.problems += search.problems
        self.notices += search.notices
        validation = self._validation(objective.kind, space, fixed, [f for f in (*data, *scenarios) if f], n)
        if self.problems:
            return None
        self.notices += [*job.terms.notices(), *(sanity_notes(space, fixed, self._quotes.looks) if paper else ())]
        spec = JobSpec(
            objective=objective,
            method=job.tuning.method,
            space=space,
            n=n,
            seed=job.tuning.seed, metrics=metrics, session_id=session_id, mode=job.mode,
            data=tuple(d for d in data if d),
            scenarios=tuple(s for s in scenarios if s),
            on_bad_rows=job.on_bad_rows,
            digests=dict(sorted(self._digests.items())),
            fixed=fixed,
            grid_points=points,
            acquisition_fn=job.tuning.acquisition_fn,
            execution=Execution(**job.execution.model_dump(exclude={"give_up"})),
            results=ResultOptions(**job.results.model_dump()),
            notices=tuple(self.notices),
            generation_size=search.schedule.size,
            constraints=search.constraints,
            enqueue=search.enqueue,
            past=search.past,
            stop=search.stop,
            prune=search.prune,
            min_budget=job.tuning.min_budget,
            sampler_versions=sampler_versions(job.tuning.method) if search.adaptive or search.plugin else {},
            options=search.options,
            budgets=search.budgets,
            code=base_parts(),
            generation_lag=search.schedule.lag, refill=search.refill,
            labels=dict(sorted(job.labels.items())),
            terms=job.terms,
        )  # fmt: skip
        found = search.checked(replace(spec, marks=self._quotes.marks), validation, self.wrong)
        is_robust = found is not None and found.aggregation.robust
        return told_of_blocks(found, self._times, self._scenarios.values()) if found and is_robust else found

    def _validation(
        self, kind: str, space: SearchSpace, fixed: Mapping[str, Value], files: Sequence[str], n: int
    ) -> ValidationSpec | None:
        given = self._job.validation
        if given is None or not n or len(files) < len(self._job.data) + len(self._job.tuning.scenarios):
            return None
        times = [moments for name in files for moments in self._times.get(name, ())]
        options = ValidationOptions(kind, space, fixed, times, self.wrong, self.notices, given)
        return options.resolve(n, past=self._job.tuning.start_from is not None, takes_window=self._takes_window)

    def _check_mode(self, mode: str, session_id: str | None) -> None:
        if mode != "paper":
            self.wrong(f"{mode!r} is refused: arbd evaluates on recorded quotes and sends no orders; use paper", "mode")
        if session_id in self._job.terms.after:
            self.wrong("names this very session, which would never begin", "after")

    def _objective(self) -> ObjectiveSpec:
        given = self._job.objective
        objective = ObjectiveSpec("paper")
        if isinstance(given, PythonObjective):
            objective = ObjectiveSpec("python", (given.python,), interpreter=given.interpreter or "")
        elif isinstance(given, CommandObjective):
            program = given.command[0]
            if "/" in program and not program.startswith("/"):
                found = next((folder / program for folder in self._base_dirs if (folder / program).is_file()), None)
                program = str(found.resolve()) if found is not None else program
            protocol = "lines" if given.protocol == "lines" else ""
            objective = ObjectiveSpec("command", (program, *given.command[1:]), protocol)
        refusal = self._may_run(objective)
        if refusal is not None:
            # Nothing of what may not run is opened.
            self.wrong(refusal, "objective", here=True)
        elif isinstance(given, PythonObjective):
            self._module(given)
            if given.interpreter is not None and (missing := interpreter_fault(given.interpreter)) is not None:
                self.wrong(missing, "objective", "interpreter", here=True)
        elif objective.kind == "command":
            self._command(objective.target[0])
        return objective

    def _module(self, given: PythonObjective) -> None:
        module, _, function = given.python.partition(":")
        source = module_file(module, self._search_paths)
        if source is None:
            return
        takes = isinstance(self._method, AdaptiveMethod) and self._method.budgets is not None
        validation, tuning = self._job.validation, self._job.tuning
        folds = validation is not None and bool(validation.schemes)
        fault = fault_of(
            source, function, needs_budget=tuning.method if takes else "", needs_window=folds,
            needs_trial=needs_trial(self._job), foreign=given.interpreter is not None,
        )  # fmt: skip
        if fault is not None:
            self._takes_window = False
            self.wrong(fault, "objective", "python")
        for name, file in locate(module, self._search_paths).items():
            self._digest(f"{MODULE}{name}", file, "objective", "python")

    def _command(self, program: str) -> None:
        path = shutil.which(program)
        if path is None:
            self.wrong(
                f"{program!r} is no program on this host, or may not be executed", "objective", "command", 0, here=True
            )
        else:
            self._digest(f"command:{program}", Path(path), "objective", "command", 0)

    def _digest(self, name: str, code: Path, *path: str | int) -> None:
        try:
            with open_named(code, MAX_PROGRAM_BYTES) as file:
                self._digests[name] = file.digest()
        except DataError as error:
            self.wrong(str(error), *path)

    def _file(self, name: str, *path: str | int) -> str | None:
        """The absolute path of a file that can be read; None, with the problem noted, when it cannot."""
        candidates = [Path(name)] if Path(name).is_absolute() else [folder / name for folder in self._base_dirs]
        if not candidates:
            self.wrong(f"{name!r} is a relative path, and there is no folder to look in: write an absolute one", *path)
            return None
        data = path[0] == "data"
        try:
            with first_of(candidates, MAX_DATA_BYTES if data else MAX_BYTES, self._reading) as file:
                found = str(file.real)
                # Hosts that evaluate the job know the file by this name alone, and its format by the end of it.
                file.path = file.real
                with file.errors_unquoted("quotes" if data else "a scenario"):
                    if data:
                        self._quotes.read(file)
                    else:
                        self._scenarios[found], self._digests[found] = read_scenario(file)
        except JobError as error:
            at = self._document.document.locate(path)
            self.problems += [Problem(f"{name}: {problem}", "tuning.scenarios", *at) for problem in error.problems]
            return None
        except MissingFileError as error:
            self.wrong(f"{error.reason}: {error.path}", *path, here=True)
            return None
        except ArbdError as error:
            self.wrong(str(error), *path, here=isinstance(error, RefusedError))
            return None
        return found

    def _data(self, given: str | DataFolder, index: int) -> str | None:
        if isinstance(given, DataFolder):
            return self._read_days(days_of(given), "data", index, given=given)
        # As a resolved job names them; the name of a file ends in its format.
        days = DayFiles.parse(given) if given.endswith("]") else None
        return self._file(given, "data", index) if days is None else self._read_days(days, "data", index)

    def _read_days(self, days: DayFiles, *path: str | int, given: DataFolder | None = None) -> str | None:
        """The name of day files that can be read as one market; None, with the problem noted, when they cannot."""
        folders = [base / days.folder for base in self._base_dirs] or [days.folder]
        try:
            return self._quotes.read_days(days, folders, given)
        except ArbdError as error:
            self.wrong(str(error), *path)
            return None

    def _check_markets(self, paper: bool, scenarios: Sequence[str]) -> None:
        job = self._job
        if not paper:
            if job.tuning.scenarios:
                self.wrong("only the paper objective reads scenarios", "tuning", "scenarios")
            return
        if not job.data and not job.tuning.scenarios:
            self.wrong("the paper objective needs quotes: name files under `data:` or `tuning.scenarios:`", "tuning")
        for name in scenarios:
            self._profiles[name] = self._scenarios[name].risk_profile
            self._quotes.see(name, self._scenarios[name].markets)

    def _check_together(self, data: Sequence[str], space: SearchSpace, fixed: Mapping[str, Value]) -> None:
        """What the job's markets must have in common to be pooled."""
        profiles = {**{name: {} for name in data}, **self._profiles}
        if not profiles:
            return
        resolved = [params.resolve({**own, **fixed}) for own in profiles.values()]
        for name, fault in params.differing(list(profiles), resolved).items():
            if name not in space.names or name in space.conditional:
                self.wrong(fault, "tuning", "scenarios")
        searched = next((dimension for dimension in space.dimensions if dimension.name == "grid_s"), None)
        for name, own in zip(profiles, resolved, strict=True):
            try:
                for times in self._times.get(name, ()):
                    grid_points(times, lowest(searched) if searched is not None else float(own["grid_s"]))
            except UsageError as error:
                place = ("tuning", "search_space", "grid_s") if searched is not None else ("fixed", "grid_s")
                self.wrong(f"{name}: {error}", *place)

    def _grid_points(self, space: SearchSpace) -> dict[str, int]:
        given = self._job.tuning.grid_points
        if isinstance(given, int):
            return {d.name: given for d in space.dimensions}
        points: dict[str, int] = {}
        names = {d.name for d in space.dimensions}
        for name, count in given.items():
            key = params.ALIASES.get(name, name)
            if key not in names and name not in names:
                self.wrong(
                    f"{name!r} is not searched; searched are {', '.join(sorted(names))}", "tuning", "grid_points", name
                )
            points[key if key in names else name] = count
        return points

    def _count(self, space: SearchSpace, points: Mapping[str, int]) -> int:
        tuning, method = self._job.tuning, self._method
        if isinstance(method, PlanMethod) and method.size is not None:
            if any(count > MAX_GRID_POINTS for count in points.values()):
                self.wrong(f"more than {MAX_GRID_POINTS:,} points in one dimension", "tuning", "grid_points")
                return 0
            try:
                return self._planned_count(method.size(space, points))
            except UsageError as error:
                self.wrong(str(error), "tuning", "grid_points")
                return 0
        if tuning.max_iterations is None:
            if not any(fault.field == "tuning.max_iterations" for fault in self._document.faults):
                self.wrong(
                    f"is missing: method {tuning.method} needs to know how many iterations", "tuning", "max_iterations"
                )
            return 0
        if method.max_iterations is not None and tuning.max_iterations > method.max_iterations:
            self.wrong(f"{tuning.method} ends after {method.max_iterations:,} points", "tuning", "max_iterations")
        return tuning.max_iterations

    def _planned_count(self, plan: PlanSize) -> int:
        """Of a plan that ends by itself."""
        method, most = self._job.tuning.method, self._job.tuning.max_iterations
        self.notices += plan.notices
        size = plan.points + len(self._job.tuning.enqueue)
        if size > MAX_PLAN:
            self.wrong(f"the {method} has {size:,} points; the maximum is {MAX_PLAN:,}", "tuning", "grid_points")
        if most is not None and most < size:
            self.notices.append(f"the first {most:,} of the {method}'s {size:,} points are evaluated")
            return most
        if most is not None and most > size:
            self.notices.append(f"the {method} has {size:,} points, fewer than max_iterations")
        return size
