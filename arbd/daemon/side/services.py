"""What runs beside a worker's main loop and coordinator: the CSV keeper, the Redis mirror, the metrics, retention, notices.

Each has a thread or a process of its own; none of them can hold the work up.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from arbd.daemon.core.counters import Counters
from arbd.daemon.host.config import Config, MetricsSettings
from arbd.daemon.host.logs import Log
from arbd.daemon.side.csv_keeper import CsvKeeper
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.system import SystemClock

if TYPE_CHECKING:
    from arbd.daemon.side.mirror_supervisor import Mirroring
    from arbd.daemon.side.notices_keeper import NoticesKeeper
    from arbd.daemon.side.retention_keeper import RetentionKeeper

LAST_SWEEPS_S = 2.0


class SideServices:
    """Starts them as the settings say, changes them when the settings do, and stops them."""

    def __init__(self, config: Config, files: Files, only: str | None, counters: Counters, log: Log) -> None:
        self._config = config
        self._only = only
        self._counters = counters
        self._log = log
        self._csv_keeper = CsvKeeper(files, SpoolLayout(config.spool), only, log, self._going_on)
        self._mirroring: Mirroring | None = None
        self._exporter: Any = None
        self._retention: RetentionKeeper | None = None
        self._notices: NoticesKeeper | None = None

    def _going_on(self) -> list[str]:
        """The sessions that the coordinator knew at its last heartbeat."""
        return list(self._counters.snapshot.states)

    def start(self) -> None:
        """Begin. UsageError when the metrics cannot be served where the settings say."""
        self._export(self._config.metrics)
        self._csv_keeper.start()
        self._mirror(self._config)
        self._retain(self._config)
        self._notify(self._config)

    def reconfigure(self, config: Config) -> None:
        """Follow changed settings. UsageError when metrics cannot be served as they say; the old go on then."""
        if config.metrics != self._config.metrics:
            self._export(config.metrics)
        if config.mirror != self._config.mirror:
            if self._mirroring is not None:
                self._mirroring.stop(wait=False)
            self._mirror(config)
        if config.retention != self._config.retention:
            if self._retention is not None:
                self._retention.stop(wait=False)
            self._retain(config)
        if (config.notify, config.scan_s) != (self._config.notify, self._config.scan_s):
            if self._notices is not None:
                self._notices.stop(wait=False)
            self._notify(config)
        self._config = config

    def stop(self, mirror_within_s: float = LAST_SWEEPS_S) -> None:
        """End all; the mirror may catch up for so long."""
        if self._retention is not None:
            self._retention.stop()
        if self._notices is not None:
            self._notices.stop()
        if self._mirroring is not None:
            self._mirroring.catch_up(mirror_within_s)
            self._mirroring.stop()
        if self._exporter is not None:
            self._exporter.close()
        self._csv_keeper.stop()

    def about(self) -> dict[str, Any]:
        """For heartbeats. Asks the spool for its space: only for a thread that may wait for it."""
        found = os.statvfs(self._config.spool)
        space = {
            "free_bytes": found.f_bavail * found.f_frsize,
            "size_bytes": found.f_blocks * found.f_frsize,
            # Some filesystems (Btrfs) have no number of files to run out of.
            **({"free_inodes": found.f_favail} if found.f_files else {}),
        }
        told: dict[str, Any] = {}
        if (mirroring := self._mirroring) is not None:
            told["mirror"] = mirroring.about()
        if (keeper := self._retention) is not None:
            told["retention"] = keeper.about()
        if (notices := self._notices) is not None:
            told["notify"] = notices.about()
        return {**space, **told}

    def _mirror(self, config: Config) -> None:
        self._mirroring = None
        if config.mirror.redis:
            from arbd.daemon.side.mirror_supervisor import Mirroring  # noqa: PLC0415 - most daemons have none

            self._mirroring = Mirroring(config.spool, config.mirror.redis, self._only, self._log)
            self._mirroring.start()

    def _retain(self, config: Config) -> None:
        self._retention = None
        # A worker of one session has no part in what becomes of others.
        if config.retention.rules and self._only is None:
            from arbd.daemon.side.retention_keeper import RetentionKeeper  # noqa: PLC0415 - as above

            self._retention = RetentionKeeper(
                config.spool, config.worker_id, config.retention, SystemClock(), self._log
            )
            self._retention.start()

    def _notify(self, config: Config) -> None:
        self._notices = None
        if config.notify.targets and self._only is None:
            from arbd.daemon.side.notices_keeper import NoticesKeeper  # noqa: PLC0415 - as above

            self._notices = NoticesKeeper(config.spool, config.notify, config.scan_s, self._log)
            self._notices.start()

    def _export(self, settings: MetricsSettings) -> None:
        old, exporter = self._exporter, None
        if settings.listen or settings.textfile:
            from arbd.daemon.side.metrics import Exporter  # noqa: PLC0415 - the library takes a tenth of a second

            if old is not None and old.settings.address == settings.address:
                old.close()
                old = None
            exporter = Exporter(settings, self._counters, self._config.worker_id, self._log)
        self._exporter = exporter
        if old is not None:
            old.close()
