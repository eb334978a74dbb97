"""Texts of foreign origin on a terminal or in a log: what could move the cursor or fake a line is made visible."""

from __future__ import annotations

import re

# C0 and C1 controls, line separators, marks that turn the direction of writing, halves of characters.
_HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_HIDDEN_IN_LINE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    """`text` with nothing in it that is not shown, but for line ends and tabs."""
    return _HIDDEN.sub(_escaped, text)


def visible_line(text: str) -> str:
    """`text` as one line with nothing in it that is not shown."""
    return _HIDDEN_IN_LINE.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    # The form that JSON takes too.
    return f"\\u{ord(found.group()):04x}"
