"""Machine code of loops: kept, read, refused, and the same as what Numba runs."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbd.paper import machine_code
from arbd.paper.ahead import all_loops
from arbd.paper.arguments import Scalar, Table, as_argument
from arbd.paper.machine_code import CALLABLE, Loop
from arbd.paper.market import loops

EDGES = st.lists(st.floats(-5, 5) | st.just(np.nan), min_size=1, max_size=300)
ALL = """
import sys
from arbd.paper import machine_code
from arbd.paper.ahead import all_loops
for loop in all_loops():
    loop.ready()
print(*[name for name in ("numba", "scipy", "pyarrow", "duckdb", "pandas") if name in sys.modules])
"""


def test_no_loop_needs_numba_once_it_is_compiled() -> None:
    for loop in all_loops():
        loop.ready()
    done = subprocess.run([sys.executable, "-c", ALL], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == ""


def decayed(loop: Loop) -> list[float]:
    out = np.empty(3)
    loop(np.array([0.5, 0.5, 0.5]), np.array([1.0, 2.0, 3.0]), out)
    return out.tolist()


def fresh() -> Loop:
    return Loop(loops.decaying_sum.module, loops.decaying_sum.name, *loops.decaying_sum.kinds)


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "code"))
    assert decayed(fresh()) == [1.0, 2.5, 4.25]
    (path,) = (tmp_path / "code").rglob("*.code")
    return path


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.7, 0.99])
@pytest.mark.parametrize("how", ["cut", "changed"])
def test_a_damaged_file_is_compiled_anew(code: Path, share: float, how: str) -> None:
    whole = code.read_bytes()
    at = int(share * len(whole))
    code.write_bytes(whole[:at] if how == "cut" else whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    assert decayed(fresh()) == [1.0, 2.5, 4.25]
    found = code.read_bytes()
    assert hashlib.sha256(found[32:]).digest() == found[:32]


def test_code_of_other_sources_in_the_same_folder_is_not_run(code: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = code.read_bytes()
    monkeypatch.setattr(machine_code, "sources_once", lambda: "other sources")
    machine_code.made_for.cache_clear()
    try:
        assert decayed(fresh()) == [1.0, 2.5, 4.25]
    finally:
        machine_code.made_for.cache_clear()
    assert len([*code.parent.glob("*.code")]) == 2
    assert code.read_bytes() == before


@pytest.mark.parametrize(
    ("place", "wrong"),
    [
        (0, np.ones(3, dtype=np.int64)), (0, np.ones((3, 1))), (0, np.ones(6)[::2]), (1, np.ones(3, dtype=np.float32)),
        (0, np.ones(3, dtype=">f8")), (2, as_argument(np.ones(3), np.float64)),
    ],
)  # fmt: skip
def test_arrays_of_another_kind_never_come_to_machine_code(place: int, wrong: Any) -> None:
    arguments: list[Any] = [np.ones(3), np.ones(3), np.empty(3)]
    arguments[place] = wrong
    with pytest.raises(AssertionError):
        loops.decaying_sum(*arguments)


def test_a_loop_that_calls_what_only_numba_has_is_left_to_numba() -> None:
    from arbd.paper.compiled import object_code

    def draw(out: Any) -> None:
        out[0] = np.random.random()

    def copy(out: Any) -> None:
        out[0] = 1.0

    kinds = (Table(writes=True),)
    assert object_code(draw, kinds, CALLABLE, tells=False) is None
    assert object_code(copy, kinds, CALLABLE, tells=True) is None
    assert object_code(copy, kinds, CALLABLE, tells=False) is not None


@settings(max_examples=30)
@given(edges=EDGES, seed=st.integers(0, 2**32 - 1), half_life_ns=st.floats(1.0, 1e12))
def test_machine_code_gives_the_bits_that_numba_does(edges: list[float], seed: int, half_life_ns: float) -> None:
    column = np.array(edges)
    ts_ns = np.cumsum(np.random.default_rng(seed).integers(0, 10**9, len(edges)))
    size = len(edges)

    def outputs(call: Any) -> list[bytes]:
        read, times = as_argument(column, np.float64), as_argument(ts_ns, np.int64)
        fine = loops.room_for_extremes(size, 2)
        coarse = loops.room_for_extremes(fine.shape[1] - loops.LANES, 3)
        table, centered, sigma = np.empty(40, dtype=np.int32), np.empty(size), np.empty(size)
        call(loops.extremes)(read, as_argument(-column, np.float64), 2, fine)
        call(loops.coarser)(as_argument(fine, np.float64), 3, coarse)
        call(loops.time_table)(times, 28, table)
        call(loops.moving)(times, read, half_life_ns, centered, sigma)
        return [array.tobytes() for array in (fine, coarse, table, centered, sigma)]

    assert outputs(lambda loop: loop) == outputs(Loop.source)


def test_every_loop_says_which_arguments_it_takes() -> None:
    for loop in all_loops():
        wanted = loop.source().py_func.__code__.co_argcount
        assert len(loop.kinds) == wanted, loop.name
        assert all(isinstance(kind, Scalar | Table) for kind in loop.kinds)
