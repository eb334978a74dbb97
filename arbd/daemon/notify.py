"""The systemd notification protocol (sd_notify(3)): one datagram to the socket named in the environment."""

from __future__ import annotations

import os
import socket


class Notifier:
    """Tells systemd how the service is; does nothing where systemd did not start it. Never raises."""

    def __init__(self, address: str | None = None) -> None:
        name = os.environ.get("NOTIFY_SOCKET", "") if address is None else address
        # A leading '@' stands for Linux's abstract namespace.
        self._address = "\0" + name[1:] if name.startswith("@") else name

    def send(self, *assignments: str) -> None:
        """Send lines such as `READY=1`; a lost notification must not end a worker, so failures are ignored."""
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.sendto("\n".join(assignments).encode(), self._address)
        except OSError:
            return


def watchdog_interval_s() -> float | None:
    """Seconds between WATCHDOG=1 that systemd asks for (half its limit), or None."""
    usec = os.environ.get("WATCHDOG_USEC", "")
    pid = os.environ.get("WATCHDOG_PID", str(os.getpid()))
    if not usec.isdigit() or pid != str(os.getpid()):
        return None
    return int(usec) / 2e6
