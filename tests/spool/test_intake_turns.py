"""Jobs that nothing comes of for as long as the spool is in trouble, and the others beside them."""

from __future__ import annotations

import itertools

import pytest

from arbd.job.spec import JobSpec
from arbd.spool.arrivals import SUBMITTED_SUFFIX
from arbd.spool.files import Files
from arbd.spool.held import Held, Taker
from arbd.spool.intake import Intake
from arbd.spool.layout import SpoolLayout
from arbd.spool.sessions import session_ids
from tests.spool.test_intake import Clock, drop, resolve

# How the jobs that nothing comes of get to wait: dropped, taken up by an earlier version, by a worker that died, and
# files that are written to whenever they are checked.
STUCK = ("dropped", "of an earlier version", "orphaned", "growing")


@pytest.mark.parametrize("stuck", [kinds for count in (1, 2, 4) for kinds in itertools.combinations(STUCK, count)])
@pytest.mark.parametrize("cost_s", [0.0, 0.6, 12.0])
def test_jobs_that_take_long_and_come_to_nothing_keep_no_other_waiting(
    layout: SpoolLayout, stuck: tuple[str, ...], cost_s: float
) -> None:
    clock = Clock()
    # No job can be rejected.
    layout.rejected.rmdir()
    layout.rejected.symlink_to("nowhere")

    def slow(data: bytes, name: str) -> JobSpec:
        clock.now_s += cost_s
        if b"growing" in data:
            with next(layout.taken.glob(f"*{name}")).open("ab") as file:
                file.write(b"more\n")
        return resolve(data, name)

    def place(kind: str, number: int, name: str, text: str) -> None:
        path = drop(layout, name, text)
        if kind == "of an earlier version":
            path.rename(layout.accepting / f"early-{number},{name}")
        elif kind == "orphaned":
            path.rename(Held(1, Taker("gone", number), f"id-{number}", name).path(layout))

    for number, kind in enumerate(2 * stuck):
        place(kind, number, f"stuck-{number}{SUBMITTED_SUFFIX}", "growing" if kind == "growing" else "bad")
    good = [f"id-good-{kind}".replace(" ", "-") for kind in STUCK[:3]]
    for number, (kind, name) in enumerate(zip(STUCK, good, strict=False), 100):
        place(kind, number, f"{name}{SUBMITTED_SUFFIX}", name)
    intake = Intake(Files(), layout, clock, slow, dead=lambda worker_id, incarnation: "gone")
    for _ in range(8 * (len(stuck) + 1)):
        intake.scan()
        clock.now_s += 0.1
    assert sorted(session_ids(Files(), layout)) == sorted(good)
    assert intake.left
