"""Marks of markets compared: whether two jobs are about the same one, whatever files it stands in (`arbd.paper.market.marks`)."""

from __future__ import annotations

from collections.abc import Collection


def moments_of(marks: Collection[str]) -> dict[int, set[str]]:
    """The digests of marks by moment."""
    found: dict[int, set[str]] = {}
    for mark in marks:
        moment, _, digest = mark.partition(":")
        found.setdefault(int(moment), set()).add(digest)
    return found


def is_same_market(marks: Collection[str], others: Collection[str]) -> bool:
    """True when two recordings have moments in common, and the same prices at half of these or more."""
    agreed = moments_of(set(marks).intersection(others))
    return bool(agreed) and 2 * len(agreed) >= len(moments_of(marks).keys() & moments_of(others).keys())
