"""What a strategy of the paper engine is: the declaration in which it says what the rest of the engine has to know."""

from __future__ import annotations

from arbd.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Strategy:
    """`summary`: what it does, for people. `code`: its number in rows of parameters and in both engines.

    `holds`: it opens positions and closes them, so that holding time and exposure have a meaning.
    """

    summary: str
    code: int
    holds: bool
