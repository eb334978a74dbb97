"""Wakes the coordinator when something lands in `incoming/`: inotify on local filesystems, polling on others.

Only a hint, so that a dropped job is seen at once: the coordinator looks by itself as well, because inotify
says nothing of what other hosts do on a network filesystem.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver
from watchdog.observers.polling import PollingObserver

from arbd.daemon.host.logs import Log
from arbd.mounts import filesystem_type

LOCAL_TYPES = frozenset(
    {"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "bcachefs", "tmpfs", "ramfs", "overlay", "reiserfs", "jfs"}
)


def _is_news(record: logging.LogRecord) -> bool:
    # What changes in the folder while the watch is being stopped is no error, as watchdog has it.
    return "when the thread is inactive" not in record.getMessage()


class _Waker(FileSystemEventHandler):
    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake

    def on_any_event(self, event: FileSystemEvent) -> None:
        if event.event_type in ("created", "moved", "closed", "modified"):
            self._wake()


def start_watching(
    folder: Path, mode: str, interval_s: float, wake: Callable[[], None], log: Log | None = None
) -> BaseObserver:
    """Call `wake` (from another thread) when something changes in `folder`.

    `mode` is `inotify`, `polling`, or `auto`: inotify where the filesystem is known to be local. Where the kernel has
    no watch left, the folder is polled, and the log told so.
    """
    local = filesystem_type(folder) in LOCAL_TYPES
    native = mode == "inotify" or (mode == "auto" and local)
    if native:
        logging.getLogger("watchdog.observers.inotify").addFilter(_is_news)
        try:
            return _started(Observer(), folder, wake)
        except OSError as error:
            # Watches are few and shared with every other program of the user; a hint is nothing to end for.
            (log or Log()).warning(
                "no inotify: incoming/ is polled", reason=error.strerror, limits="fs.inotify.max_user_*"
            )
    return _started(PollingObserver(timeout=interval_s), folder, wake)


def _started(observer: BaseObserver, folder: Path, wake: Callable[[], None]) -> BaseObserver:
    observer.schedule(_Waker(wake), str(folder))
    observer.start()
    return observer
