"""The name that was perhaps meant where a name is none: the nearest of the known ones, however it is capitalised."""

from __future__ import annotations

from collections.abc import Iterable


def nearest(name: object, known: Iterable[str], at_least: float = 0.6) -> list[str]:
    """The known name that is nearest, in a list; none where the likeness is below `at_least` (0 to 1)."""
    import difflib  # noqa: PLC0415 - only a mistake needs it

    plain: dict[str, str] = {}
    for each in known:
        plain.setdefault(each.casefold(), each)
    return [plain[found] for found in difflib.get_close_matches(str(name).casefold(), plain, 1, at_least)]
