"""Texts of foreign origin on a terminal or in a log: what could move the cursor or fake a line is made visible."""

from __future__ import annotations

import re

# Controls (C0, C1), line separators, marks that turn the direction of writing, characters without width or ink, which
# hide that two names differ (Unicode's Cf and Default_Ignorable_Code_Point), halves of characters, what is no character.
_UNSEEN = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160\u17b4\u17b5"
    "\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff\ud800-\udfff"
    "\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_HIDDEN = re.compile(f"[{_UNSEEN}]")
_HIDDEN_IN_LINE = re.compile(f"[\t\n{_UNSEEN}]")


def escape_control_chars(text: str) -> str:
    """`text` with nothing in it that is not shown, but for line ends and tabs."""
    return _HIDDEN.sub(_escaped, text)


def escape_line(text: str) -> str:
    """`text` as one line with nothing in it that is not shown."""
    return _HIDDEN_IN_LINE.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    # The form that JSON takes too: what is beyond 16 bits in two halves.
    code = ord(found.group())
    if code < 0x10000:
        return f"\\u{code:04x}"
    return f"\\u{0xD800 + ((code - 0x10000) >> 10):04x}\\u{0xDC00 + ((code - 0x10000) & 0x3FF):04x}"
