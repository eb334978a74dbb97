"""The one chart language of report, replay and live page: their script and style, which browsers get as they stand here.

`draw.js` has elements, axes and tables, `figures.js` the figures of a session, `curves.js` intermediate values, `session.js`
a session as sections, `timechart.js` series over time with zoom, `run.js` one iteration. Nothing is built, nothing is
loaded from elsewhere.
"""

from __future__ import annotations

from importlib import resources

STYLE = "style.css"
# In the order in which each needs those before it.
SCRIPTS = ("draw.js", "timechart.js", "run.js", "figures.js", "curves.js", "session.js")


def asset(name: str) -> str:
    """The text of one of these files."""
    return (resources.files(__package__) / name).read_text(encoding="utf-8")


def script() -> str:
    """All of the script, for pages that are one file."""
    return "\n".join(asset(name) for name in SCRIPTS)
