"""What administrators ask of workers: in force at once, and written down with who, where, when and why."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.liveness import Beat, write_beat
from arbd.spool.operations import (
    begin_maintenance,
    drain,
    end_maintenance,
    forget,
    halt_of,
    halts,
    last_order,
    orders,
    undrain,
)
from arbd.spool.provenance import Actor

FILES = Files()
STEPS = ("drain a", "drain b", "undrain a", "undrain b", "maintenance on", "maintenance off", "forget a")


def actor(number: int) -> Actor:
    return Actor(user=f"u{number}", uid=number, host="desk", wall_ns=number, reason=f"why {number}")


@given(st.lists(st.sampled_from(STEPS), max_size=8))
def test_whatever_is_asked_in_whatever_order_stands_with_its_author_and_nothing_else_does(steps: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        layout = SpoolLayout(Path(folder))
        layout.prepare()
        wanted: dict[str, str] = {}
        told = []
        for number, step in enumerate(steps):
            what, _, whom = step.partition(" ")
            if what == "drain":
                drain(FILES, layout, whom, actor(number))
                wanted[whom] = f"u{number}"
            elif what == "undrain":
                assert undrain(FILES, layout, whom, actor(number)) == (whom in wanted)
                if wanted.pop(whom, None) is None:
                    continue
            elif step == "maintenance on":
                begin_maintenance(FILES, layout, actor(number))
                wanted[""] = f"u{number}"
            elif step == "maintenance off":
                assert end_maintenance(FILES, layout, actor(number)) == ("" in wanted)
                if wanted.pop("", None) is None:
                    continue
            else:
                write_beat(FILES, layout, Beat(whom, 1, 1, {}))
                forget(FILES, layout, whom, actor(number))
                wanted.pop(whom, None)
            told.append((what if whom in ("a", "b") else step, "" if what == "maintenance" else whom, f"u{number}"))
            last = last_order(FILES, layout, told[-1][1] or "c")
            assert last is not None
            assert last.actor == actor(number)
        assert [(order.what, order.worker_id, order.actor.user) for order in orders(FILES, layout)] == told
        in_force = {name: halt.actor.user for name, halt in halts(FILES, layout).items() if halt.actor}
        assert in_force == wanted
        assert (halt_of(FILES, layout, "b") is not None) == bool({"", "b"} & set(wanted))
