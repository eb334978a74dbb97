"""This worker's metrics for Prometheus: by HTTP, and as a file for node_exporter's textfile collector.

Both show the same metrics, made when they are asked for from what `Counters` and the last heartbeat hold; nothing
here touches the spool.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from arbd.atomic_file import replace_file
from arbd.daemon.core.counters import Counters, Histogram
from arbd.daemon.core.standing import Standing as SessionStanding
from arbd.daemon.host.config import MetricsSettings
from arbd.daemon.host.logs import Log
from arbd.errors import UsageError
from arbd.spool.standing.firing import Standing
from arbd.spool.standing.records import StandingState

WORKER_STATES = ("running", "draining")


class MetricsCollector(Collector):
    """Turns `Counters` into metrics; every one is described in docs/metrics.md."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters

    def collect(self) -> Iterable[Metric]:
        """All metrics as they are now."""
        about = self._counters.snapshot.about
        yield from self._worker(about)
        yield from self._work(about)
        yield from self._events()
        yield GaugeMetricFamily(
            "arbd_heartbeat_age_seconds", "Since the last heartbeat; it grows while the spool does not answer.",
            self._counters.snapshot.age_s(time.monotonic()),
        )  # fmt: skip
        yield from self._wrong(about)
        yield from _standing(self._counters.standing)
        yield from _spool(about)
        if executor := about.get("executor"):
            yield from _executor(executor)
        mirror = about.get("mirror")
        if mirror is not None:
            yield from _mirror(mirror)
        kept = about.get("retention")
        if kept is not None:
            yield from _retention(kept)
        if notices := about.get("notify"):
            yield from _notices(notices)

    def _worker(self, about: Mapping[str, Any]) -> Iterable[Metric]:
        info = InfoMetricFamily("arbd_build", "Version of arbd and of Python.")
        versions = about.get("versions", {})
        info.add_metric([], {name: str(version) for name, version in versions.items()})
        yield info
        yield GaugeMetricFamily("arbd_slots", "Processes that evaluate at once.", about.get("slots", 0))
        yield GaugeMetricFamily("arbd_slots_busy", "Slots that have a task.", self._counters.slots_busy)
        state = GaugeMetricFamily("arbd_worker_state", "1 for the state that the worker is in.", labels=["state"])
        for name in WORKER_STATES:
            state.add_metric([name], float(about.get("state") == name))
        yield state

    def _work(self, about: Mapping[str, Any]) -> Iterable[Metric]:
        recorded = CounterMetricFamily(
            "arbd_iterations", "Iterations that this worker recorded, by status.", labels=["status"]
        )
        for status, count in self._counters.by_status.items():
            recorded.add_metric([status], count)
        yield recorded
        yield GaugeMetricFamily(
            "arbd_rate_iterations_per_second", "What the slots of this worker do, from the time per iteration.",
            about.get("rate", 0.0),
        )  # fmt: skip
        snapshot = self._counters.snapshot
        yield GaugeMetricFamily("arbd_sessions", "Sessions that are not over.", len(snapshot.states))
        yield GaugeMetricFamily(
            "arbd_sessions_blocked", "Sessions that this host cannot evaluate now.", len(about.get("blocked", {}))
        )
        states = GaugeMetricFamily(
            "arbd_session_iterations", "Iterations of a session that is not over, by state, on all hosts together.",
            labels=["session", "state"],
        )  # fmt: skip
        for session, counts in snapshot.states.items():
            for name, count in counts.items():
                states.add_metric([session, name], count)
        yield states
        yield GaugeMetricFamily(
            "arbd_superseded_iterations",
            "Results that came after the work had been given to another worker, of sessions that are not over.",
            snapshot.superseded,
        )

    def _wrong(self, about: Mapping[str, Any]) -> Iterable[Metric]:
        """What is wrong as of the coordinator's last turn: it needs no heartbeat, which a spool that is away cannot take."""
        condition, now_s = self._counters.condition, time.monotonic()
        yield GaugeMetricFamily(
            "arbd_spool_trouble",
            "1 while the spool, or the files of a session, cannot be used.",
            float(
                bool(condition.spool_trouble or condition.sessions_by_standing.get(SessionStanding.BACKING_OFF.value))
            ),
        )
        yield GaugeMetricFamily(
            "arbd_sessions_unreadable",
            "Sessions whose files are damaged or of another version; they are looked at again.",
            condition.sessions_by_standing.get(SessionStanding.UNREADABLE.value, 0),
        )
        yield GaugeMetricFamily(
            "arbd_compactions_failing", "Sessions whose last compaction failed.", condition.compactions_failing
        )
        yield GaugeMetricFamily(
            "arbd_finishing_seconds",
            "How long the session that waits longest has had all its iterations recorded, and is not done.",
            _age_s(condition.finishing_since_s, now_s),
        )
        yield GaugeMetricFamily(
            "arbd_jobs_waiting_seconds",
            "How long dropped jobs have been waiting without any of them being taken up or refused.",
            _age_s(condition.jobs_waiting_since_s, now_s),
        )
        yield GaugeMetricFamily(
            "arbd_jobs_queued",
            "Dropped jobs that are no sessions yet, those that other hosts may take included.",
            about.get("jobs_queued", 0),
        )
        yield GaugeMetricFamily(
            "arbd_jobs_rejected", "Refused jobs that lie in rejected/.", about.get("jobs_rejected", 0)
        )

    def _events(self) -> Iterable[Metric]:
        events = CounterMetricFamily("arbd_events", "What happened to jobs, slots, leases.", labels=["event"])
        for event, count in self._counters.events.items():
            events.add_metric([event], count)
        yield events
        yield _histogram(
            "arbd_chunk_wait_seconds", "From the claim of a chunk to its begin on a slot.", self._counters.chunk_wait
        )
        yield _histogram("arbd_lock_wait_seconds", "Waiting for locks of ledgers.", self._counters.lock_wait)


def _spool(about: Mapping[str, Any]) -> Iterable[Metric]:
    for key, name, text in (
        ("free_bytes", "arbd_spool_free_bytes", "Free space of the spool's filesystem."),
        ("size_bytes", "arbd_spool_size_bytes", "Size of the spool's filesystem."),
        ("free_inodes", "arbd_spool_free_inodes", "Files that the spool's filesystem can still take."),
    ):
        if about.get(key) is not None:
            yield GaugeMetricFamily(name, text, about[key])


def _standing(standing: Sequence[Standing]) -> Iterable[Metric]:
    """Of each standing job; none where there are none."""
    if not standing:
        return
    fired = GaugeMetricFamily(
        "arbd_standing_last_fired_timestamp_seconds", "When a standing job last made a session; 0 for never.",
        labels=["standing"],
    )  # fmt: skip
    due = GaugeMetricFamily(
        "arbd_standing_next_due_timestamp_seconds", "When a standing job is due next; 0 where new data decide that.",
        labels=["standing"],
    )  # fmt: skip
    failing = GaugeMetricFamily(
        "arbd_standing_failing", "1 while a standing job that is due cannot make its session.", labels=["standing"]
    )
    paused = GaugeMetricFamily("arbd_standing_paused", "1 while a standing job is paused.", labels=["standing"])
    for each in standing:
        fired.add_metric([each.name], each.last_fired_ns / 1e9)
        due.add_metric([each.name], each.next_due_ns / 1e9)
        failing.add_metric([each.name], float(bool(each.trouble)))
        paused.add_metric([each.name], float(each.state == StandingState.PAUSED.value))
    yield from (fired, due, failing, paused)


def _executor(told: Mapping[str, Any]) -> Iterable[Metric]:
    """Slots that this worker has from somebody else."""
    for key, name, text in (
        ("slots", "arbd_remote_slots", "Chunks that the executor is to evaluate at once, at most."),
        ("ready", "arbd_remote_slots_ready", "Chunks that it can evaluate at once now."),
        ("busy", "arbd_remote_slots_busy", "Chunks that it has."),
        ("workers", "arbd_remote_workers", "Workers of the executor that may be given chunks."),
    ):
        if told.get(key) is not None:
            yield GaugeMetricFamily(name, text, told[key])
    yield GaugeMetricFamily(
        "arbd_remote_workers_refused",
        "Workers of the executor that are given nothing, at most 20.",
        len(told["refused"]),
    )
    yield GaugeMetricFamily(
        "arbd_remote_waiting", "1 while the executor waits for something, such as its scheduler.",
        float(bool(told["waits_for"])),
    )  # fmt: skip


def _mirror(mirror: Mapping[str, Any]) -> Iterable[Metric]:
    yield GaugeMetricFamily("arbd_mirror_up", "1 while Redis takes results.", float(mirror["state"] == "up"))
    if mirror["behind"] is not None:
        yield GaugeMetricFamily(
            "arbd_mirror_lag_iterations", "Recorded results that Redis has not got.", mirror["behind"]
        )
    yield CounterMetricFamily("arbd_mirror_written", "Results that this worker wrote to Redis.", mirror["written"])
    yield GaugeMetricFamily(
        "arbd_mirror_sessions_in_trouble", "Sessions that Redis or their files keep from it.", len(mirror["troubles"])
    )


def _retention(kept: Mapping[str, Any]) -> Iterable[Metric]:
    done = CounterMetricFamily(
        "arbd_retention_sessions", "What this worker did to sessions by the rules of its settings.", labels=["what"]
    )
    for what, count in kept["done"].items():
        done.add_metric([what], count)
    yield done
    yield CounterMetricFamily("arbd_retention_freed_bytes", "Space that this worker freed so.", kept["freed_bytes"])
    yield GaugeMetricFamily(
        "arbd_retention_troubles", "Sessions whose rule could not be carried out in the last round, at most 20.",
        len(kept["troubles"]),
    )  # fmt: skip


def _notices(targets: Mapping[str, Any]) -> Iterable[Metric]:
    sent = CounterMetricFamily(
        "arbd_notices_sent", "Notices that this worker sent and that were taken.", labels=["target"]
    )
    failed = CounterMetricFamily(
        "arbd_notices_failed", "Attempts of this worker that were not taken.", labels=["target"]
    )
    waiting = GaugeMetricFamily("arbd_notices_waiting", "Notices that this worker is to send still.", labels=["target"])
    given_up = GaugeMetricFamily("arbd_notices_given_up", "Notices that nobody sends any more.", labels=["target"])
    for name, told in targets.items():
        sent.add_metric([name], told["sent"])
        failed.add_metric([name], told["failed"])
        if told["sends"]:
            waiting.add_metric([name], told["waiting"])
            given_up.add_metric([name], told["given_up"])
    yield from (sent, failed, waiting, given_up)


def _age_s(since_s: float | None, now_s: float) -> float:
    return 0.0 if since_s is None else max(0.0, now_s - since_s)


def _histogram(name: str, text: str, histogram: Histogram) -> Metric:
    buckets, sum_s = histogram.cumulative()
    return HistogramMetricFamily(name, text, buckets=buckets, sum_value=sum_s)


class Exporter:
    """Shows the metrics as the settings say, until it is closed. UsageError when the address cannot be had."""

    def __init__(self, settings: MetricsSettings, counters: Counters, worker_id: str, log: Log) -> None:
        self.settings = settings
        self._log = log
        self._registry = CollectorRegistry(target_info={"worker": worker_id})
        self._registry.register(MetricsCollector(counters))
        self._stack = contextlib.ExitStack()
        self._stop = threading.Event()
        if settings.address is not None:
            self._serve(*settings.address)
        if settings.textfile:
            thread = threading.Thread(target=self._write_for_ever, name="textfile", daemon=True)
            thread.start()
            self._stack.callback(thread.join, 5.0)
            self._stack.callback(self._stop.set)

    def close(self) -> None:
        """Stop serving, and remove the file."""
        self._stack.close()

    def _serve(self, host: str, port: int) -> None:
        try:
            server, thread = start_http_server(port, host, self._registry)
        except OSError as error:
            raise UsageError(
                f"metrics.listen {self.settings.listen}: {error.strerror or error}; "
                "choose another address, or leave it empty"
            ) from error
        self._stack.callback(thread.join, 5.0)
        self._stack.callback(server.server_close)
        self._stack.callback(server.shutdown)

    def _write_for_ever(self) -> None:
        path = Path(self.settings.textfile)
        said = False
        stopping = False
        while not stopping:
            try:
                replace_file(path, generate_latest(self._registry))
            except OSError as error:
                if not said:
                    self._log.error("metrics cannot be written", file=path, reason=error)
                said = True
            else:
                said = False
            stopping = self._stop.wait(self.settings.textfile_s)
        # Counters of a worker that is not there must not look like those of one that is.
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
