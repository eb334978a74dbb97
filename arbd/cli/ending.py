"""The end of a process that was interrupted. It loads nothing, since it must be there before anything else is."""

from __future__ import annotations

import os

LINE = b"arbctl: interrupted\n"
STATUS = 130


def end(number: int = 0, frame: object = None) -> None:
    """End this process as interrupted, now. A handler of a signal, too."""
    os.write(2, LINE)
    os._exit(STATUS)
