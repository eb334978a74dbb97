"""How batches of runs are handed to the compiled engine: the tables it works on, made here and kept while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from arbd.paper.arguments import as_argument
from arbd.paper.kernel.state import (
    COUNTS,
    DESK,
    FEE,
    FILL,
    KNOWN_BYTES,
    KNOWN_PLACES,
    NEVER,
    OFTEN,
    OWN_SIZE,
    RUN,
    SELDOM,
    TIER_DAY,
    TIER_FEE,
    TIER_FROM,
    TIERS_SIZE,
    TRADED_DAY,
    VENUE_FIELDS,
    WORDS,
)
from arbd.paper.kernel.sweeps import BY_EVENTS, BY_WALKING, SWEEPS
from arbd.paper.market import loops
from arbd.paper.market.prepared import FIELD, FIELDS
from arbd.paper.market.quotes import FloatArray, IntArray
from arbd.paper.market.series import Series
from arbd.paper.params import FEE_TIERS
from arbd.values import dataclass

WAYS = {"events": BY_EVENTS, "walk": BY_WALKING}
# Runs that are swept together, and entry times kept for their hourly limits: what keeps a batch in the caches and in bounds.
BATCH_RUNS = 1024
BATCH_ENTRIES = 4_000_000
ROWS_PER_STEP = 8


@dataclass(frozen=True, eq=False)
class Index:
    """How the engine finds its way in a market: extremes of blocks, windows and regions of quotes, and rows by time."""

    blocks: FloatArray
    windows: FloatArray
    regions: FloatArray
    rows_by_time: npt.NDArray[np.int32]
    time_shift: int


def build_index(series: Series) -> Index:
    """Compute the index of a series of at least one row."""
    edges = as_argument(series.edge_ab, np.float64), as_argument(series.edge_ba, np.float64)
    blocks = loops.room_for_extremes(len(series), loops.BLOCK_BITS)
    loops.extremes(*edges, loops.BLOCK_BITS, blocks)
    windows = _coarser(blocks, loops.WINDOW_BITS - loops.BLOCK_BITS)
    regions = _coarser(windows, loops.REGION_BITS)
    span_ns = int(series.ts_ns[-1]) - int(series.ts_ns[0])
    shift = (span_ns // max(1, len(series) // ROWS_PER_STEP)).bit_length()
    times = as_argument(series.ts_ns, np.int64)
    rows_by_time = np.empty((span_ns >> shift) + 2, dtype=np.int32)
    loops.time_table(times, shift, rows_by_time)
    return Index(blocks, windows, regions, rows_by_time, shift)


def _coarser(fine: FloatArray, bits: int) -> FloatArray:
    made = loops.room_for_extremes(fine.shape[1] - loops.LANES, bits)
    loops.coarser(as_argument(fine, np.float64), bits, made)
    return made


def compile_sweeps(strategy: int, compiling: Callable[[], object] | None = None) -> None:
    """Have the machine code ready, of all that sets of a strategy, by its code, may need; see `Loop.ready` for `compiling`."""
    for loop in (*loops.OF_INDEX, *SWEEPS[strategy]):
        loop.ready(compiling)


def run_batch(
    series: Series,
    index: Index,
    rows: FloatArray,
    grid_rows: IntArray,
    room: int = 0,
    way: str = "events",
) -> tuple[FloatArray, FloatArray, npt.NDArray[Any], int]:
    """Counts (n, N_COUNTS) and equity (n, grid points) of parameter rows; up to `room` fills, and how many there were.

    The equity of runs that were given up is NaN.
    Fills are those of a single run: with several, they mean nothing.
    """
    counts, equity = np.empty((len(rows), len(COUNTS))), np.empty((len(rows), len(grid_rows)))
    fills = np.empty(room, dtype=FILL)
    n_fills = 0
    given = as_argument(rows, np.float64)
    of_the_market = of_market(series, index)
    for part in _batches(rows):
        runs = np.zeros(len(part), dtype=RUN)
        in_use: npt.NDArray[np.bool_] = np.any(rows if len(part) == len(rows) else rows[part], axis=0)
        tiers = _tiers(rows[part]) if in_use[_OF_TIERS].any() else None
        hourly_entries = int(rows[part, FIELD["max_trades_per_hour"]].sum())
        tables = {
            **of_the_market,
            **_PLACES,
            "given": given,
            "n_fields": len(FIELDS),
            "order": part,
            "runs": runs,
            "fills": fills,
            "grid_rows": grid_rows,
            "equity": equity,
            "own": np.zeros((len(part), OWN_SIZE)),
            "tiers": 0 if tiers is None else tiers,
            "entries": np.empty(1 + hourly_entries, dtype=np.int64),
            "nearest": np.zeros(len(runs), dtype=np.int64),
            "active": np.empty(len(runs), dtype=np.int64),
            "known": np.full(KNOWN_PLACES * KNOWN_BYTES // 8, NEVER),
            "next_rows": np.where(np.arange(len(runs) + loops.LANES) < len(runs), 0, NEVER),
        }
        desk = np.zeros(1, dtype=DESK)
        for name, table in tables.items():
            desk[name] = table.ctypes.data if isinstance(table, np.ndarray) else table
        desk["n_runs"], desk["room"], desk["n_grid"] = len(runs), room, len(grid_rows)
        full, quick = SWEEPS[int(rows[part[0], FIELD["strategy"]])]
        loops_over = quick if room == 0 and is_plain(series, in_use) else full
        loops_over(desk.ctypes.data, WAYS[way])
        counts[part] = _words(runs)[:, _COUNTED]
        # From where it was given up, its part of the grid is memory that nobody wrote to.
        equity[part[runs["given_up"] != 0]] = np.nan
        n_fills = int(runs["n_fills"][-1])
    return counts, equity, fills, n_fills


def _place(names: Sequence[str]) -> slice:
    """Where fields that stand together in a run's record do, in words."""
    places = [WORDS.index(name) for name in names]
    assert places == list(range(places[0], places[0] + len(names)))
    return slice(places[0], places[-1] + 1)


# Of a run's record, what is counted.
_COUNTED = _place(COUNTS)
# From which turnover tiers of fees hold.
_TIERS = tuple(name for name in FIELDS if name.endswith("_turnover"))
# What is off when it is 0, and is left out of the plain engine.
_LEFT_OUT = (
    "latency_jitter", "reject_pct_a", "reject_pct_b", "lot_step_a", "lot_step_b", "min_notional_a", "min_notional_b",
    "tick_a", "tick_b", "mark", *_TIERS, "funding_a_bps_8h", "funding_b_bps_8h", "borrow_a_pct_year", "borrow_b_pct_year",
)  # fmt: skip
_COLUMNS_LEFT_OUT = [FIELD[name] for name in _LEFT_OUT]


def is_plain(series: Series, in_use: npt.NDArray[np.bool_]) -> bool:
    """Whether the plain engine is enough for sets that use these of FIELDS: it leaves out what few do, and is twice as quick."""
    off = not in_use[_COLUMNS_LEFT_OUT].any()
    usual = len(series.ends) <= 1 and len(series.sigma_ab) == 0 and len(series.funding_rows) == 0
    at_once = len(series.seen) == 0
    return off and usual and at_once and series.levels.shape[1] == 0 and not series.unusable.any()


_OF_TIERS = [FIELD[name] for name in _TIERS]


def _pairs(pairs: Iterable[tuple[int, str]]) -> IntArray:
    """Where parameters go: words of a record, and columns."""
    return np.array([(place, FIELD[name]) for place, name in pairs], dtype=np.int64)


def _places() -> dict[str, Any]:
    """Where the parameters of a row go, as the desk has it."""
    of_runs = _pairs((WORDS.index(name), name) for name in (*OFTEN, *SELDOM))
    of_venues = _pairs(enumerate((name.format(letter) for name in VENUE_FIELDS for letter in "ab"), int(FEE)))
    return {
        "places": of_runs, "n_places": len(of_runs), "own_places": of_venues, "n_own_places": len(of_venues),
    }  # fmt: skip


_PLACES = _places()


def _batches(rows: FloatArray) -> list[IntArray]:
    """Which sets are swept together: of one strategy, and next to each other those that enter at the same quotes."""
    order = np.lexsort((rows[:, FIELD["min_spread_ab_pct"]], rows[:, FIELD["strategy"]]))
    strategies, hourly = (rows[order, FIELD[name]] for name in ("strategy", "max_trades_per_hour"))
    if 0 < len(rows) <= BATCH_RUNS and hourly.sum() <= BATCH_ENTRIES and strategies[0] == strategies[-1]:
        return [order]
    found, start, entries = [], 0, 0.0
    for at, more in enumerate(hourly.tolist()):
        full = at - start == BATCH_RUNS or entries + more > BATCH_ENTRIES
        if at > start and (full or strategies[at] != strategies[start]):
            found.append(order[start:at])
            start, entries = at, 0.0
        entries += more
    return [*found, order[start:]] if len(rows) else []


def _tiers(rows: FloatArray) -> FloatArray:
    """The tiers of fees of each run, per venue, and room for what it trades: (n, 2, TIERS_SIZE)."""
    tiers = np.zeros((len(rows), 2, TIERS_SIZE))
    whole = tiers.view(np.int64)
    whole[:, :, TIER_DAY] = -NEVER
    whole[:, :, TRADED_DAY:] = -NEVER
    for at in range(FEE_TIERS):
        for venue, letter in enumerate("ab"):
            name = f"fee_{letter}_tier_{at + 1}"
            tiers[:, venue, TIER_FROM + at] = rows[:, FIELD[f"{name}_turnover"]]
            tiers[:, venue, TIER_FEE + at] = rows[:, FIELD[f"{name}_bps"]] / 1e4
    return tiers


def _words(runs: npt.NDArray[Any]) -> FloatArray:
    """Records of runs as numbers, a row for each: one step for many fields is quicker than one for each."""
    return runs.view(np.float64).reshape(len(runs), len(WORDS))


def of_market(series: Series, index: Index) -> dict[str, Any]:
    """What of the desk is of the market: tables, and numbers."""
    unusable: Any = as_argument(series.unusable, np.uint8) if len(series.unusable) else 0
    seen: Any = as_argument(series.seen, np.int32) if len(series.seen) else 0
    same_fx = series.fx.strides == (0,)
    edges = {
        name: as_argument(column, np.float64)
        for name, column in {
            "ab": series.edge_ab, "ba": series.edge_ba, "cost_ab": series.cost_ab, "cost_ba": series.cost_ba,
            "sigma_ab": series.sigma_ab, "sigma_ba": series.sigma_ba,
        }.items()
    }  # fmt: skip
    centered = len(series.sigma_ab) > 0
    # The end of the data is no gap: nothing is known of it beforehand.
    ends = np.append(series.ends[:-1], len(series))
    return {
        **edges,
        **({} if centered else {"sigma_ab": 0, "sigma_ba": 0}),
        "ts": as_argument(series.ts_ns, np.int64), "book": as_argument(series.book, np.float64),
        "unusable": unusable, "fresh": as_argument(series.fresh, np.uint8), "salt": series.salt,
        "funding_rows": as_argument(series.funding_rows, np.int64), "n_funding": len(series.funding_rows),
        "funding_sums": as_argument(series.funding_sums, np.float64),
        "below": as_argument(series.levels, np.float64), "n_below": series.levels.shape[1],
        "seen": seen, "fx": as_argument(series.fx[:1] if same_fx else series.fx, np.float64), "fx_step": int(not same_fx),
        "ends": as_argument(ends, np.int64), "n": len(series),
        "first_ns": int(series.ts_ns[0]), "last_ns": int(series.ts_ns[-1]),
        "blocks": index.blocks, "block_stride": index.blocks.shape[1],
        "windows": index.windows, "window_stride": index.windows.shape[1],
        "regions": index.regions, "region_stride": index.regions.shape[1],
        "rows_by_time": index.rows_by_time, "time_shift": index.time_shift,
    }  # fmt: skip
