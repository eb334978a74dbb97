"""Why sessions wait for others (`after:` of a job): which these are, and where nobody will ever begin because of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence


def reasons_to_wait(waits: Mapping[str, Sequence[str]], is_session: Callable[[str], bool]) -> dict[str, str]:
    """For people, by session. `waits` are the sessions that are not over for which each waits; none is empty."""
    endless = _endless(waits)
    found: dict[str, str] = {}
    for name, others in waits.items():
        reason = f"waits for {', '.join(others)} to be over"
        if name in endless:
            ring = " -> ".join(_ring(name, waits, endless))
            reason += f", which never comes: {ring}; cancel one of these"
        elif missing := [other for other in others if not is_session(other)]:
            are = "is no session" if len(missing) == 1 else "are no sessions"
            reason += f"; {', '.join(missing)} {are} yet: if that is a mistake, cancel {name} and submit it again"
        found[name] = reason
    return found


def _endless(waits: Mapping[str, Sequence[str]]) -> set[str]:
    """Those that wait for themselves, if by way of others, or for such."""
    left = {name: {other for other in others if other in waits} for name, others in waits.items()}
    waited_by: dict[str, list[str]] = {}
    for name, others in left.items():
        for other in others:
            waited_by.setdefault(other, []).append(name)
    free = [name for name, others in left.items() if not others]
    while free:
        name = free.pop()
        del left[name]
        for waiting in waited_by.get(name, ()):
            left[waiting].discard(name)
            if not left[waiting]:
                free.append(waiting)
    return set(left)


def _ring(name: str, waits: Mapping[str, Sequence[str]], endless: set[str]) -> list[str]:
    """From one that never begins along those that it waits for, to the first that comes again."""
    way = [name]
    while way[-1] not in way[:-1]:
        way.append(next(other for other in waits[way[-1]] if other in endless))
    return way
