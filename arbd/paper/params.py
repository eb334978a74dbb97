"""Every parameter of the paper engine: name, default, range, unit, meaning. Nothing else is a parameter."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from arbd.errors import UsageError
from arbd.near_names import nearest
from arbd.paper.strategies import by_code
from arbd.values import dataclass

# Levels of a book that a file may have.
MAX_LEVELS = 50
# Tiers of a venue's fee beside the first.
FEE_TIERS = 4

Value = float | int | str | bool


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter. `values` are those of a choice; numbers lie in [low, high].

    One that `follows` another is what that one is where it is not given; its default is NaN.
    """

    name: str
    kind: str
    default: Value
    low: float
    high: float
    unit: str
    doc: str
    values: tuple[str, ...] = ()
    follows: str = ""


def _number(name: str, default: float, low: float, high: float, unit: str, doc: str) -> Parameter:
    return Parameter(name, "float", default, low, high, unit, doc)


def _own(name: str, follows: str, low: float, high: float, unit: str, doc: str) -> Parameter:
    """A number of one venue or direction, which is that of both where it is not given."""
    return Parameter(name, "float", math.nan, low, high, unit, doc, follows=follows)


_BIG = 1e18


def _fee_tiers(venue: str) -> tuple[Parameter, ...]:
    """The tiers of a venue's fee beside `fee_a_bps` or `fee_b_bps`: each has the turnover from which it holds, and the fee."""
    return tuple(
        parameter
        for tier in range(1, FEE_TIERS + 1)
        for parameter in (
            _number(
                f"fee_{venue}_tier_{tier}_turnover", 0.0, 0, _BIG, "A's currency",
                f"fee tier {tier} of venue {venue.upper()}: the turnover there, in the 30 UTC days before, from which it "
                "holds; 0 = off",
            ),
            _number(f"fee_{venue}_tier_{tier}_bps", 0.0, -100, 10_000, "bps", f"the fee of that tier, instead of fee_{venue}_bps"),
        )
    )  # fmt: skip


_STRATEGIES = by_code()
_ALL = (
    Parameter(
        "strategy", "choice", next(iter(_STRATEGIES)), 0, 0, "",
        "; ".join(f"{name}: {strategy.summary}" for name, strategy in _STRATEGIES.items()),
        tuple(_STRATEGIES),
    ),
    _number("min_spread_pct", 0.2, -100, 100, "%", "enter when the edge is at least this"),
    _own("min_spread_ab_pct", "min_spread_pct", -100, 100, "%", "the same for buying on B and selling on A alone"),
    _own("min_spread_ba_pct", "min_spread_pct", -100, 100, "%", "the same for buying on A and selling on B alone"),
    Parameter(
        "center", "choice", "none", 0, 0, "",
        "what edges are measured from: none (zero) or ewma (each direction's own exponentially weighted moving mean)",
        ("none", "ewma"),
    ),
    _number("center_half_life_s", 3600.0, 1e-3, 1e9, "s", "half-life of the moving mean of center: ewma"),
    _number("entry_sigma", 0.0, 0, 1e6, "deviations", "enter only when the centred edge is at least this many moving deviations; 0 = off"),
    _number("exit_spread_pct", 0.0, -100, 100, "%", "close when the cost of unwinding has fallen to this (convergence)"),
    _number("take_profit_pct", 0.0, 0, 100, "%", "close at this gain over the entry, before fees; 0 = off (convergence)"),
    _number("stop_loss_pct", 0.0, 0, 100, "%", "close at this loss under the entry, before fees; 0 = off (convergence)"),
    _number("max_hold_s", 0.0, 0, 1e9, "s", "close after this time; 0 = off (convergence)"),
    _number("latency_a_ms", 0.0, 0, 1e8, "ms", "from a decision to the fill on venue A"),
    _number("latency_b_ms", 0.0, 0, 1e8, "ms", "from a decision to the fill on venue B"),
    _number("feed_latency_a_ms", 0.0, 0, 1e8, "ms", "from a quote of venue A to when the strategy sees it; orders meet the venue's own"),
    _number("feed_latency_b_ms", 0.0, 0, 1e8, "ms", "the same for venue B"),
    _number("latency_jitter", 0.0, 0, 5, "", "log-normal factor of each latency: the deviation of its logarithm; 0 = off"),
    _number("reject_pct_a", 0.0, 0, 100, "%", "share of orders that venue A refuses at random"),
    _number("reject_pct_b", 0.0, 0, 100, "%", "share of orders that venue B refuses at random"),
    Parameter("execution_seed", "int", 1, 0, 2**53, "", "of what is drawn at random: refusals and latencies"),
    Parameter(
        "unhedged", "choice", "hedge", 0, 0, "",
        "what is done about what one leg filled more than the other: hedge (the other venue is tried again) or unwind (it is traded back)",
        ("hedge", "unwind"),
    ),
    _number("hedge_latency_ms", 0.0, 0, 1e8, "ms", "from the fills to the order that hedges or unwinds, whose own latency follows"),
    _number("max_quote_age_s", 0.0, 0, 1e9, "s", "a quote older than this is not traded on, and quotes further apart are a gap; 0 = off"),
    _number("max_quote_age_a_s", 0.0, 0, 1e9, "s", "the same age for venue A alone; 0 = max_quote_age_s"),
    _number("max_quote_age_b_s", 0.0, 0, 1e9, "s", "the same age for venue B alone; 0 = max_quote_age_s"),
    Parameter(
        "gap", "choice", "hold", 0, 0, "",
        "what a gap in the recording does: hold (nothing: it is not known beforehand) or close_before (optimistic: a position "
        "is closed at the last quote before it, whole and at once) (convergence)",
        ("hold", "close_before"),
    ),
    _number("slippage_bps", 1.0, 0, 10_000, "bps", "how much worse than the touch every fill is"),
    _number("participation", 1.0, 1e-9, 1, "share", "largest part of the size shown that a fill takes"),
    Parameter(
        "book_levels", "int", MAX_LEVELS, 1, MAX_LEVELS, "levels",
        "how far down a recorded book an order walks; 1 = the touch alone, as where no levels are recorded",
    ),
    _number("lot_step", 0.0, 0, _BIG, "base units", "quantities are rounded down to multiples of this; 0 = none"),
    _own("lot_step_a", "lot_step", 0, _BIG, "base units", "the same for venue A alone"),
    _own("lot_step_b", "lot_step", 0, _BIG, "base units", "the same for venue B alone"),
    _number("min_notional", 0.0, 0, _BIG, "A's currency", "no order is smaller than this, but one that closes all there is"),
    _own("min_notional_a", "min_notional", 0, _BIG, "A's currency", "the same for venue A alone"),
    _own("min_notional_b", "min_notional", 0, _BIG, "A's currency", "the same for venue B alone"),
    _number("tick_a", 0.0, 0, _BIG, "A's currency", "prices of fills on A are rounded to multiples of this, against the trader; 0 = none"),
    _number("tick_b", 0.0, 0, _BIG, "A's currency", "the same for venue B, whose prices are converted; 0 = none"),
    _number("fee_a_bps", 10.0, -100, 10_000, "bps", "taker fee on venue A, of the notional"),
    _number("fee_b_bps", 10.0, -100, 10_000, "bps", "taker fee on venue B, of the notional"),
    *_fee_tiers("a"),
    *_fee_tiers("b"),
    _number("funding_a_bps_8h", 0.0, -10_000, 10_000, "bps per 8 h", "long on venue A pays it, short receives it (convergence)"),
    _number("funding_b_bps_8h", 0.0, -10_000, 10_000, "bps per 8 h", "long on venue B pays it, short receives it (convergence)"),
    _number("borrow_a_pct_year", 0.0, 0, 10_000, "% per year", "paid for what is short on venue A (convergence)"),
    _number("borrow_b_pct_year", 0.0, 0, 10_000, "% per year", "paid for what is short on venue B (convergence)"),
    _number("max_position", 100_000.0, 1e-12, _BIG, "A's currency", "largest position, or trade of inventory"),
    _number("max_daily_loss", 0.0, 0, _BIG, "A's currency", "realised loss of a UTC day after which nothing is entered; 0 = off"),
    Parameter("max_trades_per_hour", "int", 0, 0, 100_000, "entries", "in any 3600 s; 0 = off"),
    _number("circuit_breaker_pct", 0.0, 0, 100, "%", "drawdown of equity from its peak at which trading stops for good; 0 = off"),
    _number("cooldown_s", 0.0, 0, 1e9, "s", "nothing is entered for this long after a losing trade"),
    _number("initial_capital", 1_000_000.0, 1e-9, _BIG, "A's currency", "equity at the start"),
    _number("base_share", 0.5, 0, 1, "share", "part of the initial capital held in the base asset, half of it on each venue (inventory)"),
    Parameter(
        "mark", "choice", "hedged", 0, 0, "",
        "how balances are valued: hedged (not anew: pnl is what trading made) or market (base at A's mid, B's currency at fx: "
        "pnl, drawdowns and Sharpe show it) (inventory)",
        ("hedged", "market"),
    ),
    Parameter(
        "rebalance", "choice", "transfer", 0, 0, "",
        "how balances are evened out: none, transfer (fee and delay) or reverse (a trade at rebalance_spread_pct) (inventory)",
        ("none", "transfer", "reverse"),
    ),
    _number("rebalance_trigger", 0.2, 0, 0.5, "share", "rebalance when one venue holds less than this of all base (inventory)"),
    _number("rebalance_spread_pct", 0.0, -100, 100, "%", "edge at which a reverse trade rebalances (inventory)"),
    _number("transfer_fee_pct", 0.05, 0, 100, "%", "of what a transfer moves (inventory)"),
    _number("transfer_delay_s", 1800.0, 0, 1e9, "s", "from sending a transfer to its arrival (inventory)"),
    Parameter(
        "give_up_trades_per_day", "int", 0, 0, 10**9, "trades",
        "a run that closes more trades than this in a UTC day ends there, as given up; 0 = off",
    ),
    _number("give_up_drawdown_pct", 0.0, 0, 100, "%", "a run whose drawdown reaches this ends there, as given up; 0 = off"),
    _number("grid_s", 3600.0, 1e-3, 1e9, "s", "spacing of the equity grid, for drawdown, Sharpe and Sortino"),
)  # fmt: skip

PARAMETERS: Mapping[str, Parameter] = {parameter.name: parameter for parameter in _ALL}

ALIASES: Mapping[str, str] = {
    "max_position_krw": "max_position",
    "max_daily_loss_krw": "max_daily_loss",
    "circuit_breaker_threshold": "circuit_breaker_pct",
    "carry_over_gaps": "gap",
}

# Names of before whose values are called otherwise too.
_VALUES_OF_BEFORE = {"carry_over_gaps": {"no": "close_before", "yes": "hold"}}

_GAPS = "gaps close no position any more, since none is known beforehand; gap: close_before is the way of before"
# What settings mean now that meant something else by the first rules (docs/engine.md).
CHANGED: Mapping[str, str] = {
    "carry_over_gaps": "is called gap now: no is close_before (optimistic), yes is hold, which is the default",
    "max_quote_age_s": _GAPS,
    "max_trades_per_hour": "counts orders that were sent, filled or not",
    "min_notional": "holds for each leg at its own price, and not for what closes all that is held",
    "participation": "what was taken of a size is gone until the venue's next quote",
}

# What markets that are pooled must have in common: returns of different spacings, and exposure of strategies of
# which one has none, have no meaning together.
ALIKE = ("strategy", "grid_s")


def defaults() -> dict[str, Value]:
    """What each parameter is where nobody says anything of it, but those that follow another."""
    return {name: parameter.default for name, parameter in PARAMETERS.items() if not parameter.follows}


def canonical(name: str) -> str:
    """The name that the engine uses; UsageError with the nearest known names when there is none."""
    name = ALIASES.get(name, name)
    if name in PARAMETERS:
        return name
    near = nearest(name, [*PARAMETERS, *ALIASES])
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise UsageError(f"unknown parameter {name!r}; {hint}known are {', '.join(PARAMETERS)}")


def check(name: str, value: object) -> Value:
    """`value` as the parameter's type; UsageError when it cannot be that, or is out of range."""
    parameter = PARAMETERS[canonical(name)]
    if name in _VALUES_OF_BEFORE and isinstance(value, str):
        value = _VALUES_OF_BEFORE[name].get(value, value)
    if parameter.kind == "choice":
        if value not in parameter.values:
            raise UsageError(f"{name} is {value!r}; it can be {', '.join(parameter.values)}")
        return str(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UsageError(f"{name} is {value!r}; it is a number{f' in {parameter.unit}' if parameter.unit else ''}")
    if not parameter.low <= value <= parameter.high:
        raise UsageError(
            f"{name} is {value!r}; it can be {parameter.low:g} to {parameter.high:g} {parameter.unit}".rstrip()
        )
    if parameter.kind == "int":
        if value != int(value):
            raise UsageError(f"{name} is {value!r}; it is an integer")
        return int(value)
    return float(value)


def resolve(given: Mapping[str, object]) -> dict[str, Value]:
    """All parameters, in order: those given (aliases allowed), defaults for the rest."""
    resolved: dict[str, Value] = {name: parameter.default for name, parameter in PARAMETERS.items()}
    for name, value in given.items():
        resolved[canonical(name)] = check(name, value)
    return resolved


def followed(values: Mapping[str, Value]) -> dict[str, Value]:
    """Resolved parameters with those that follow others filled in."""
    return {
        name: values[PARAMETERS[name].follows] if isinstance(value, float) and math.isnan(value) else value
        for name, value in values.items()
    }


def differing(sources: Sequence[str], resolved: Sequence[Mapping[str, Value]]) -> dict[str, str]:
    """The parameters of `ALIKE` in which markets differ, each with a message that names two of them."""
    found: dict[str, str] = {}
    for name in ALIKE:
        for source, values in zip(sources, resolved, strict=True):
            if values[name] != resolved[0][name]:
                found[name] = (
                    f"{name} is {resolved[0][name]} for {sources[0]} and {values[name]} for {source}: markets are pooled "
                    "only with the same; fix or search it, or run them in jobs of their own"
                )
                break
    return found
