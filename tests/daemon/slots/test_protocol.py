"""What a slot is told to do, taken apart where its process is replaced."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from arbd.daemon.slots.protocol import ChunkTask, SubSpan
from arbd.spool.ledger import Claim
from arbd.spool.spans import Span


@st.composite
def tasks(draw: st.DrawFn) -> ChunkTask:
    """Some claims, each in some parts, all parts in any order: what is tried again comes last, whatever its number."""
    parts: list[SubSpan] = []
    first = 1
    for claim_id in range(1, 1 + draw(st.integers(1, 4))):
        counts = draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
        claim = Claim(claim_id, Span(first, sum(counts)), "w", 1)
        for count in counts:
            parts.append(SubSpan(claim, Span(first, count)))
            first += count
    return ChunkTask(7, Path("s"), tuple(draw(st.permutations(parts))))


def iterations(task: ChunkTask) -> list[tuple[int, int]]:
    """With the claim of each."""
    return [
        (part.claim.claim_id, part.span.first + offset) for part in task.sub_spans for offset in range(part.span.count)
    ]


@given(tasks(), st.data())
def test_what_was_done_and_what_is_left_are_the_task_wherever_it_is_cut(task: ChunkTask, data: st.DataObject) -> None:
    done, left = data.draw(st.integers(0, len(iterations(task)))), []
    reached = 0
    for part in task.sub_spans:
        begun = min(max(0, done - reached), part.span.count)
        reached += part.span.count
        if begun < part.span.count:
            left.append(SubSpan(part.claim, part.span.part(part.span.first + begun, part.span.count - begun)))
    rest = ChunkTask(8, Path("s"), tuple(left))
    assert iterations(task.without(rest)) + iterations(rest) == iterations(task)
