"""Single keys of a terminal, without waiting for Enter."""

from __future__ import annotations

import os
import select
import sys
import termios
import tty
from types import TracebackType

_ARROWS = {b"\x1b[A": "up", b"\x1b[B": "down", b"\x1bOA": "up", b"\x1bOB": "down"}


class Keyboard:
    """Reads keys while it is entered; the terminal is as before afterwards. Does nothing where there is no terminal."""

    def __init__(self) -> None:
        self._fd = sys.stdin.fileno() if sys.stdin.isatty() else None
        self._before: list[object] | None = None
        self._typed = b""

    def __enter__(self) -> Keyboard:
        if self._fd is not None:
            self._before = termios.tcgetattr(self._fd)
            tty.setcbreak(self._fd)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._fd is not None and self._before is not None:
            termios.tcsetattr(self._fd, termios.TCSADRAIN, self._before)  # type: ignore[arg-type]

    def key(self, within_s: float) -> str | None:
        """The next key (`up` and `down` by name) or None when none came."""
        if self._fd is None:
            select.select([], [], [], within_s)
            return None
        if not self._typed:
            if not select.select([self._fd], [], [], within_s)[0]:
                return None
            self._typed = os.read(self._fd, 64)
        for sequence, name in _ARROWS.items():
            if self._typed.startswith(sequence):
                self._typed = self._typed[len(sequence) :]
                return name
        key, self._typed = self._typed[:1], self._typed[1:]
        return key.decode(errors="ignore") or None
