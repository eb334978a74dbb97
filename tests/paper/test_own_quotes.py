"""Quotes of one's own run, whatever columns they have, in every format.

Every subset of the optional columns is evaluated as the reference engine does, out of an empty cache and out of a full
one, and no loop is compiled twice.
"""

from __future__ import annotations

import itertools
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arbd.analysis.loading import load_session
from arbd.paper.arguments import as_argument
from arbd.paper.engine import run_reference
from arbd.paper.kernel.parameter_sets import build_index
from arbd.paper.market.cache import load_market
from arbd.paper.market.prepared import Market, fill_market, market_forms, prepare
from arbd.paper.market.quotes import DEFAULTS, FUNDING, REQUIRED, Quotes, build_quotes
from arbd.paper.market.readers import read_quotes
from arbd.paper.market.writers import write_quotes
from arbd.paper.objective import PaperObjective
from arbd.paper.params import resolve
from tests.conftest import REPOSITORY, Arbctl

OPTIONAL = tuple(name for name in DEFAULTS if name not in FUNDING)
SUBSETS = [tuple(c) for size in range(len(OPTIONAL) + 1) for c in itertools.combinations(OPTIONAL, size)]
PARAMS = {"min_spread_pct": 0.2, "exit_spread_pct": 0.0, "latency_a_ms": 500.0, "max_position": 50.0, "grid_s": 5.0}
SECOND = 10**9
START = 1_735_689_600 * SECOND


def columns(rows: int = 60) -> dict[str, Any]:
    """A market that trades, with every optional column saying something."""
    rng = np.random.default_rng(7)
    mid = 100 + np.cumsum(rng.normal(0, 0.05, rows))
    gap = rng.choice([-0.6, 0.0, 0.6], rows)
    sizes = {name: rng.choice([0.5, 2.0, 40.0], rows) for name in OPTIONAL if name.startswith(("bid_size", "ask_size"))}
    return {
        "ts_ns": START + np.arange(rows, dtype=np.int64) * SECOND,
        "bid_a": mid, "ask_a": mid + 0.1, "bid_b": mid + gap, "ask_b": mid + gap + 0.1,
        **sizes, "fx": rng.choice([1.0, 1.001], rows),
        "age_a_ns": rng.choice([0, SECOND], rows), "age_b_ns": rng.choice([0, 3 * SECOND], rows),
        "block": np.repeat([0, 1, 2], rows // 3),
    }  # fmt: skip


def with_only(optional: tuple[str, ...]) -> Quotes:
    return build_quotes({name: column for name, column in columns().items() if name in (*REQUIRED, *optional)}, "made")[
        0
    ]


def alike(market: Market | Quotes, reference: dict[str, float]) -> bool:
    found, _ = PaperObjective([market], PARAMS).evaluate({})
    return all(
        np.array_equal(found[name], value, equal_nan=True) or np.isclose(found[name], value, rtol=1e-12)
        for name, value in reference.items()
    )


def reference_of(quotes: Quotes) -> dict[str, float]:
    return run_reference(prepare(quotes), resolve(PARAMS)).metrics


FULL = os.environ.get("ARBD_FULL_MATRIX") == "1"
EDGES = [subset for subset in SUBSETS if not 2 <= len(subset) <= len(OPTIONAL) - 2]
FEW = SUBSETS if FULL else [*EDGES, *random.Random(5).sample(SUBSETS, 24)]


@pytest.mark.parametrize(("suffix", "subsets"), [(".csv", FEW), (".parquet", FEW), (".npz", SUBSETS)])
def test_every_subset_of_optional_columns_runs_as_the_reference_cold_and_warm(
    tmp_path: Path, suffix: str, subsets: list[tuple[str, ...]]
) -> None:
    """Of the slower formats all subsets with ARBD_FULL_MATRIX=1, else those of few and of nearly all, and some others."""
    for number, optional in enumerate(subsets):
        quotes = with_only(optional)
        path = tmp_path / f"q{number}{suffix}"
        write_quotes(quotes, path)
        reference = reference_of(quotes)
        assert reference["trades"] > 0
        for _ in ("cold", "warm"):
            read, market = load_market(path, tmp_path / "cache")
            assert set(read.told()) == set(quotes.told()) == {*REQUIRED, *optional}
            assert alike(market, reference), optional
        assert alike(read_quotes(path)[0], reference), optional


SIDES = ("bid_size", "ask_size")


@pytest.mark.parametrize("fx", ["1", "1.0005"])
@pytest.mark.parametrize("gap", [(), ("--max-gap-s", "2")])
def test_every_subset_of_what_two_venues_tell_is_imported_and_runs(
    tmp_path: Path, arbctl: Arbctl, fx: str, gap: tuple[str, ...]
) -> None:
    given = columns()
    for number, told in enumerate(itertools.product([False, True], repeat=4)):
        files = []
        for venue, (bid_size, ask_size) in (("a", told[:2]), ("b", told[2:])):
            names = ["bid", "ask", *(["bid_size"] if bid_size else []), *(["ask_size"] if ask_size else [])]
            path = tmp_path / f"{venue}.csv"
            lines = zip(given["ts_ns"].tolist(), *(given[f"{name}_{venue}"].tolist() for name in names), strict=True)
            text = "".join(",".join(map(repr, line)) + "\n" for line in lines)
            path.write_text(",".join(["ts_ns", *names]) + "\n" + text)
            files.append(path)
        target = tmp_path / f"q{number}.parquet"
        code, _, err = arbctl(
            "market",
            "import",
            "--format",
            "quotes",
            "--a",
            files[0],
            "--b",
            files[1],
            "--fx",
            fx,
            *gap,
            "--output",
            target,
        )
        assert (code, err) == (0, "")
        reference = reference_of(read_quotes(target)[0])
        for _ in ("cold", "warm"):
            assert alike(load_market(target, tmp_path / "cache")[1], reference)


FORMS = {
    "owned": lambda a: a,
    "read-only": lambda a: np.frombuffer(a.tobytes(), a.dtype),
    "strided": lambda a: np.repeat(a, 2)[::2],
    "reversed": lambda a: a[::-1].copy()[::-1],
    "not aligned": lambda a: np.frombuffer(b"x" + a.tobytes(), a.dtype, offset=1),
    "another byte order": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "broadcast": lambda a: np.broadcast_to(a[:1], a.shape),
}


@pytest.mark.parametrize("seed", range(8))
def test_no_layout_of_the_arrays_is_compiled_for_itself(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    changed = {}
    for name, column in columns().items():
        forms = [form for form in FORMS if form != "broadcast" or name in SIDES]
        changed[name] = FORMS[rng.choice(forms)](column)
    quotes = Quotes(**changed)
    mapped = {
        name: np.lib.format.open_memmap(tmp_path / f"{name}.npy", mode="w+", dtype=kind, shape=shape)
        for name, (shape, kind) in market_forms(quotes).items()
    }
    expected = prepare(build_quotes(columns(), "made")[0])
    market = fill_market(quotes, mapped)
    assert np.array_equal(market.book, expected.book)
    assert np.array_equal(market.edge_ab, expected.edge_ab, equal_nan=True)
    build_index(market.series(0.0, carry_over_gaps=False))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", [np.float64, np.int64, np.uint8])
def test_arrays_have_one_form_for_compiled_loops(form: str, kind: type) -> None:
    column = np.arange(9).astype(kind)
    given = FORMS[form](column)
    found = as_argument(given, kind)
    assert np.array_equal(found, given)
    assert type(found) is np.ndarray
    assert found.flags.c_contiguous and found.flags.aligned and not found.flags.writeable
    assert found.dtype == np.dtype(kind) and found.dtype.isnative


SAMPLE = {".csv": [(), OPTIONAL], ".parquet": [random.Random(16).choice(SUBSETS)], ".npz": [()], "import": [()]}


@pytest.mark.parametrize("suffix", SAMPLE)
def test_own_quotes_are_tuned_by_the_command_on_one_slot_and_two(tmp_path: Path, suffix: str) -> None:
    """Of all subsets a sample; ARBD_FULL_MATRIX=1 takes all."""
    for number, optional in enumerate(SUBSETS if FULL and suffix != "import" else SAMPLE[suffix]):
        folder = tmp_path / str(number)
        (folder / "spool").mkdir(parents=True)
        name = imported(folder) if suffix == "import" else f"q{suffix}"
        if suffix != "import":
            write_quotes(with_only(optional), folder / name)
        (folder / "arbd.yaml").write_text(f"cache_dir: {folder / 'cache'}\n")
        (folder / "job.yaml").write_text(
            f"data: [{name}]\nfixed: {{exit_spread_pct: 0.0, latency_a_ms: 500.0, max_position: 50.0, grid_s: 5.0}}\n"
            "tuning:\n  method: grid\n  search_space: {min_spread_pct: {type: float, bounds: [0.1, 0.3]}}\n"
        )
        quotes = read_quotes(folder / name)[0]
        for slots in (1, 2):  # the second finds the cache full
            run = subprocess.run(
                [sys.executable, "-m", "arbd.cli", "--spool", str(folder / "spool"), "--config", str(folder / "arbd.yaml"),
                 "run", str(folder / "job.yaml"), "--workers", str(slots), "--session-id", f"s{slots}"],
                capture_output=True, text=True, check=False, cwd=REPOSITORY,
            )  # fmt: skip
            assert run.returncode == 0, run.stderr
            for result in load_session(folder / "spool", f"s{slots}"):
                expected = run_reference(prepare(quotes), resolve({**PARAMS, **result.params})).metrics
                assert result.status == "completed"
                assert result.metrics["pnl"] == pytest.approx(expected["pnl"], rel=1e-12)
                assert result.metrics["trades"] == expected["trades"]


def imported(folder: Path) -> str:
    """Quotes made of two exchanges' candles by the command."""
    for venue in "ab":
        lines = "".join(
            f"{1735689600000 + 60000 * i},1,1,1,{100 + (i % 3) * (venue == 'a')},1,{1735689659999 + 60000 * i},1,1,1,1,0\n"
            for i in range(30)
        )
        (folder / f"{venue}.csv").write_text(lines)
    command = [
        "market", "import", "--format", "binance-klines", "--half-spread-a-bps", "1", "--half-spread-b-bps", "1",
        "--a", str(folder / "a.csv"), "--b", str(folder / "b.csv"), "--output", str(folder / "q.parquet"),
    ]  # fmt: skip
    subprocess.run([sys.executable, "-m", "arbd.cli", *command], check=True, capture_output=True, cwd=REPOSITORY)
    return "q.parquet"
