"""The systemd notification protocol (sd_notify(3)): one datagram to the socket named in the environment."""

from __future__ import annotations

import os
import socket
import time


class Notifier:
    """Tells systemd how the service is; does nothing where systemd did not start it. Never raises."""

    def __init__(self, address: str | None = None) -> None:
        name = os.environ.get("NOTIFY_SOCKET", "") if address is None else address
        # A leading '@' stands for Linux's abstract namespace.
        self._address = "\0" + name[1:] if name.startswith("@") else name
        self._status = ""

    def send(self, *assignments: str) -> None:
        """Send lines such as `READY=1`; a lost notification must not end a worker, so failures are ignored."""
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                # systemd reads fast; if it does not, the main loop has better things to do than to wait for it.
                sock.setblocking(False)
                sock.sendto("\n".join(assignments).encode(), self._address)
        except OSError:
            return

    def ready(self, status: str) -> None:
        """Up, or done with reloading."""
        self._status = status
        self.send("READY=1", f"STATUS={_line(status)}", f"MAINPID={os.getpid()}")

    def reloading(self) -> None:
        """Reading the settings again; `ready` has to follow. systemd wants to know since when."""
        self.send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}", "STATUS=reading the settings")

    def stopping(self, status: str) -> None:
        """Draining."""
        self._status = status
        self.send("STOPPING=1", f"STATUS={_line(status)}")

    def status(self, status: str) -> None:
        """What `systemctl status` shows; sent when it changed."""
        if status != self._status:
            self._status = status
            self.send(f"STATUS={_line(status)}")


def _line(text: str) -> str:
    return " ".join(text.split())[:500]


def watchdog_interval_s() -> float | None:
    """Seconds between WATCHDOG=1 that systemd asks for (half its limit), or None."""
    usec = os.environ.get("WATCHDOG_USEC", "")
    pid = os.environ.get("WATCHDOG_PID", str(os.getpid()))
    if not usec.isdigit() or pid != str(os.getpid()):
        return None
    return int(usec) / 2e6
