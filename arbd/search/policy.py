"""Which method `method: auto` is, by what methods declare, and from what a job asks for alone, so that every host chooses alike."""

from __future__ import annotations

from arbd.search.samplers import adaptive, built_in


def method_for(iterations: int) -> tuple[str, str]:
    """The method of a search of so many iterations, and why, for people."""
    return next(
        (name, str(found.suits))
        for name in built_in(learns=True)
        if (found := adaptive(name)) is not None and found.suits is not None and found.suits.has(iterations)
    )
