"""How is the paper engine compiled on this host?"""

from __future__ import annotations

from importlib.metadata import version

from arbd.cli.doctor.finding import Finding, judged


def examine() -> Finding:
    """Whether Numba is one with which compiling takes half the time; the results are the same with any."""
    from arbd.paper.compiled import KNOWN, why_public_way

    why = why_public_way()
    if not why:
        return judged("engine", f"Numba {version('numba')} compiles functions as parts of their callers")
    first, last = (".".join(map(str, each)) for each in KNOWN)
    return judged(
        "engine",
        f"compiled in Numba's public way: the same results, but compiling takes twice as long ({why})",
        warning=True,
        remedy=f"nothing has to be done; Numba {first} to {last} is quicker",
    )
