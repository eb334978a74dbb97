"""What the page answers to which address. Reading changes nothing; what changes anything is a POST and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from functools import partial
from importlib import resources
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np

from arbd import __version__
from arbd.analysis import charts
from arbd.errors import ArbdError, NotFoundError, UsageError
from arbd.page.access import Access
from arbd.page.kept import HangsError, Kept
from arbd.page.runs import Runs
from arbd.page.sessions import (
    MAX_BESTS,
    MAX_COMPARED,
    Bests,
    as_json,
    compared_body,
    recorded_row,
    session_body,
    stamp_of,
)
from arbd.page.standing import one_standing_body, standing_body
from arbd.page.watch import SpoolWatch, spool_trouble
from arbd.results.run_again import run_again
from arbd.spool import ledger
from arbd.spool.control import change_state, open_queue, this_user
from arbd.spool.layout import SpoolLayout
from arbd.values import dataclass

# Beside the scripts of the charts, which come before them.
SCRIPTS = ("links.js", "lists.js", "standing.js", "views.js", "app.js")
STYLES = (charts.STYLE, "page.css")
JSON, HTML = "application/json; charset=utf-8", "text/html; charset=utf-8"
_TYPES = {"js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8"}
_CONTROLS = {"pause": ledger.PAUSED, "resume": ledger.RUNNING, "cancel": ledger.CANCELLED}
_STATUS = {2: 400, 3: 404, 4: 503}
RUN_WAIT_S = 240.0
# Why, in the record of what was done.
ON_PAGE = "on the live page"


@dataclass(frozen=True, slots=True)
class Response:
    """An answer. `stamp` changes with the body."""

    status: int
    body: bytes
    type: str = JSON
    stamp: str = ""
    headers: dict[str, str] = field(default_factory=dict)


def failure(status: int, text: str) -> Response:
    """An answer that says what is wrong."""
    return Response(status, as_json({"error": text}))


class Routes:
    """Answers requests. All methods may be called by any thread."""

    def __init__(self, layout: SpoolLayout, watch: SpoolWatch, runs: Runs, access: Access) -> None:
        self._layout, self._watch, self._runs, self._access = layout, watch, runs, access
        self._kept = Kept()
        self._bests = Bests(layout)
        self._assets = {**_assets(), "": _page()}

    def answer(self, method: str, target: str, headers: dict[str, str]) -> Response:
        """The answer to one request; `headers` have lower-case names."""
        parts = urlsplit(target)
        path = [unquote(part) for part in parts.path.strip("/").split("/")]
        is_data = path[0] == "api"
        refused = self._access.refusal(headers, changes=method == "POST", is_data=is_data)
        if refused is not None:
            return failure(*refused)
        if not is_data:
            return self._assets.get("/".join(path)) or failure(404, "there is nothing at this address")
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        try:
            if method == "POST":
                return self._change(path[1:])
            return self._read(path[1:], query)
        except HangsError as error:
            return failure(503, str(error))
        except ValueError:
            return failure(400, "a number of this address is none")
        except (ArbdError, OSError) as error:
            return self._failure(error)

    def _failure(self, error: Exception) -> Response:
        """What a browser is told of an error."""
        # Of a spool that is away nothing is there, which says nothing of what was asked for.
        if isinstance(error, NotFoundError | OSError) and (trouble := spool_trouble(self._layout)):
            return failure(503, trouble)
        if isinstance(error, ArbdError):
            return failure(_STATUS.get(error.exit_code, 422), str(error))
        assert isinstance(error, OSError)
        return failure(503, f"{error.filename or 'the spool'}: {error.strerror or error}")

    def _read(self, path: list[str], query: dict[str, str]) -> Response:
        match path:
            case ["about"]:
                about = {
                    "version": __version__,
                    "spool": str(self._layout.root),
                    "control": self._access.control,
                }
                return Response(200, as_json(about))
            case ["changes"]:
                return Response(200, as_json(self._watch.changes(int(query.get("since", "0")), query.get("only"))))
            case ["workers"]:
                return Response(200, as_json(self._watch.worker_points()))
            case ["bests"]:
                names = query.get("ids", "").split(",")[:MAX_BESTS]
                return self._costly(("bests", *names), object, partial(self._bests.body, names))
            case ["session", name, *more]:
                return self._of_session(name, more, query)
            case ["compare"]:
                return self._compare(query)
            case ["standing", *names] if len(names) <= 1:
                return self._standing(*names)
        raise NotFoundError("there is nothing at this address")

    def _of_session(self, name: str, more: list[str], query: dict[str, str]) -> Response:
        match more:
            case []:
                return self._session(name, query.get("metric"))
            case ["iteration", number]:
                row = partial(recorded_row, self._layout, name, int(number))
                return self._costly(
                    ("row", name, number), partial(stamp_of, self._layout, name), lambda: as_json(row())
                )
            case ["run", number]:
                return self._run(name, int(number), query)
        raise NotFoundError("there is nothing at this address")

    def _standing(self, name: str = "") -> Response:
        make = partial(one_standing_body, self._layout, name) if name else partial(standing_body, self._layout)
        # Sessions end and days pass: what is said may change at any time.
        return self._costly(("standing", name), object, make)

    def _costly(
        self, key: tuple[object, ...], look: Callable[[], object], make: Callable[[], bytes], wait_s: float = 20.0
    ) -> Response:
        found = self._kept.get(key, look, make, wait_s)
        late = {"X-Late": f"{found.late_s:.0f}"} if found.late_s > 2.0 else {}
        return Response(200, found.body, stamp=found.stamp, headers=late)

    def _session(self, name: str, metric: str | None) -> Response:
        self._layout.session(name)
        make = partial(session_body, self._layout, name, metric)
        return self._costly(("session", name, metric), partial(stamp_of, self._layout, name), make)

    def _run(self, name: str, number: int, query: dict[str, str]) -> Response:
        market = int(query.get("market", "0"))
        start, end = (float(query[key]) if key in query else None for key in ("from", "to"))
        key = ("run", name, number, market, start, end)
        seen = partial(stamp_of, self._layout, name)

        def make() -> bytes:
            return self._runs.body(name, number, seen(), (market, start, end))

        return self._costly(key, seen, make, RUN_WAIT_S)

    def _compare(self, query: dict[str, str]) -> Response:
        names = [name for name in query.get("ids", "").split(",") if name][:MAX_COMPARED]
        if len(names) < 2:
            raise UsageError("a comparison takes two sessions or more")
        make = partial(compared_body, self._layout, names, query.get("metric"))
        stamps = lambda: tuple(stamp_of(self._layout, name) for name in names)  # noqa: E731
        return self._costly(("compare", *names, query.get("metric")), stamps, make)

    def _change(self, path: list[str]) -> Response:
        match path:
            case ["session", name, "retry"]:
                return Response(200, as_json({"session_id": name, "iterations": self._retry(name)}))
            case ["session", name, verb] if verb in _CONTROLS:
                return Response(
                    200,
                    as_json(
                        {
                            "session_id": name,
                            "state": change_state(self._layout, name, _CONTROLS[verb], this_user(ON_PAGE)),
                        }
                    ),
                )
        raise NotFoundError("there is nothing at this address")

    def _retry(self, name: str) -> int:
        queue = open_queue(self._layout, name)
        if queue.state.state == ledger.CANCELLED:
            raise UsageError(f"session {name} is cancelled: submit the job again under another session_id")
        bad = [ledger.STATUS_NAMES.index(status) for status in ("failed", "timeout", "crashed")]
        return run_again(self._layout, queue, lambda merge: np.isin(merge.status, bad), this_user(ON_PAGE))


def _assets() -> dict[str, Response]:
    own = resources.files(__package__) / "static"
    texts = {name: charts.asset(name) for name in (*charts.SCRIPTS, charts.STYLE)}
    texts |= {name: (own / name).read_text(encoding="utf-8") for name in (*SCRIPTS, *STYLES[1:])}
    found = {}
    for name, text in texts.items():
        stamp = f"{__version__}-{hash(text) & 0xFFFFFFFF:x}"
        found[f"assets/{name}"] = Response(200, text.encode(), _TYPES[name.rpartition(".")[2]], stamp)
    return found


def _page() -> Response:
    text = (resources.files(__package__) / "static" / "page.html").read_text(encoding="utf-8")
    scripts = "\n".join(f'<script src="/assets/{name}" defer></script>' for name in (*charts.SCRIPTS, *SCRIPTS))
    styles = "\n".join(f'<link rel="stylesheet" href="/assets/{name}">' for name in STYLES)
    return Response(200, text.replace("{{styles}}", styles).replace("{{scripts}}", scripts).encode(), HTML)
