"""Dask: a scheduler and whatever workers it has, wherever they run. Distributed is imported when the settings name it.

A worker gets chunks once it was asked what it computes with. TLS and whatever else it takes to be let in are Dask's.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import shlex
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from arbd.daemon.executors.protocol import ExecutorAwayError, ExecutorKind, ExecutorView, Loss
from arbd.daemon.executors.settings import ExecutorSettings
from arbd.daemon.executors.versions import unfitness
from arbd.errors import UsageError

CONNECT_S = 3.0
CLOSE_S = 2.0
_ENCRYPTED = ("tls", "wss", "ucxx+tls")
_SECRETS = ("tls_ca_file", "tls_client_cert", "tls_client_key")


class WorkerFuture(Future[bytes]):
    """A future whose answer says which worker made it. A chunk that was sent counts as running: Dask does not tell."""

    worker = ""
    source: Any = None
    # Those that were fit when it was sent: no other evaluates it.
    may_run_on: frozenset[str] = frozenset()


class DaskExecutor:
    """See `ChunkExecutor`."""

    def __init__(self, settings: ExecutorSettings) -> None:
        try:
            import distributed  # noqa: PLC0415 - seconds, and only for who asked for it
        except ImportError as error:
            raise UsageError("the executor dask needs distributed: pip install 'arbd[dask]'") from error
        # It logs every lost connection with a traceback; `look` says what is the matter.
        for name in ("distributed", "tornado", *logging.root.manager.loggerDict):
            if name.partition(".")[0] in ("distributed", "tornado"):
                logging.getLogger(name).setLevel(logging.CRITICAL)
        self._distributed = distributed
        self._settings = settings
        self._security = _security(settings)
        self._client: Any = None
        self._trouble = f"the scheduler at {settings.scheduler}"
        self._base: Mapping[str, str] = {}
        # By address: why it is refused, or '' when it is fit.
        self._checked: dict[str, str] = {}
        self._checking: set[str] = set()
        self._fit: list[str] = []
        self._scattered: dict[str, Any] = {}
        self._out: set[WorkerFuture] = set()
        self._lock = threading.Lock()

    def look(self) -> ExecutorView:
        """See `ChunkExecutor`."""
        if not self._is_connected():
            self._connect()
        if not self._is_connected():
            self._fit = []
            return ExecutorView(0, self._trouble, 0)
        try:
            # `scheduler_info` returns what the client asked for last, which its own periodic question, that is for no
            # workers, may have been.
            workers = self._client.sync(self._client.scheduler.identity, n_workers=-1)["workers"]
        except Exception as error:
            # As in `submit`.
            return ExecutorView(0, f"{self._trouble}: {type(error).__name__}: {error}", 0)
        self._check_new(workers)
        with self._lock:
            self._checked = {address: why for address, why in self._checked.items() if address in workers}
            fit = {address: workers[address] for address, why in self._checked.items() if not why}
            refused = {address: why for address, why in self._checked.items() if why}
        self._fit = sorted(fit)
        self._call_back(workers)
        ready = sum(worker["nthreads"] for worker in fit.values())
        waits_for = "" if ready else f"workers of the scheduler at {self._settings.scheduler}"
        if refused and not ready:
            waits_for += f" ({len(refused)} refused: {next(iter(refused.values()))})"
        return ExecutorView(ready, waits_for, len(workers), refused)

    def _call_back(self, workers: Mapping[str, Any]) -> None:
        """Chunks of which every worker that may evaluate them is gone: the scheduler would keep them for these for ever."""
        self._out = {future for future in self._out if not future.done()}
        for future in self._out:
            if future.may_run_on.isdisjoint(workers):
                future.source.cancel(reason="its workers are gone")

    def _is_connected(self) -> bool:
        return self._client is not None and self._client.status == "running"

    def _connect(self) -> None:
        if self._client is not None and self._client.status not in ("closed", "closing"):
            # It is trying by itself.
            return
        self._forget_client()
        try:
            self._client = self._distributed.Client(
                self._settings.scheduler,
                security=self._security,
                timeout=CONNECT_S,
                set_as_default=False,
                name="arbd",
            )
        except Exception as error:
            # Whatever Dask makes of an address, a certificate or an answer: it is tried again, and told meanwhile.
            self._trouble = f"the scheduler at {self._settings.scheduler}: {type(error).__name__}: {error}"
        else:
            self._trouble = f"the scheduler at {self._settings.scheduler}"

    def _check_new(self, workers: Mapping[str, Any]) -> None:
        """Ask workers that are not known yet what they compute with; the answer is there at a later look."""
        from arbd.job.code import base_parts  # noqa: PLC0415 - NumPy

        self._base = self._base or base_parts()
        with self._lock:
            new = [address for address in workers if address not in self._checked and address not in self._checking]
            self._checking.update(new)
        if new:
            threading.Thread(target=self._check, args=(self._client, new), name="dask-check", daemon=True).start()

    def _check(self, client: Any, addresses: list[str]) -> None:
        found: dict[str, Any] = {}
        try:
            # A worker that is gone meanwhile says nothing, and is asked again if it comes back.
            found = client.run(worker_parts, workers=addresses, on_error="return")
        except Exception as error:
            # Whatever its deserialisation raises there, where there is no arbd.
            found = dict.fromkeys(addresses, error) if isinstance(error, ImportError | AttributeError) else {}
        with self._lock:
            self._checking.difference_update(addresses)
            for address, parts in found.items():
                if isinstance(parts, ImportError | AttributeError):
                    self._checked[address] = f"arbd cannot be imported there: {parts}"
                elif isinstance(parts, Mapping):
                    self._checked[address] = unfitness(self._base, parts)

    def submit(
        self, function: Callable[..., bytes], job: bytes, chunk: bytes, attached: Mapping[str, bytes]
    ) -> Future[bytes]:
        """See `ChunkExecutor`."""
        if not self._is_connected():
            raise ExecutorAwayError(self._trouble)
        if not self._fit:
            raise ExecutorAwayError(f"no worker of {self._settings.scheduler} is fit and there")
        try:
            files = [self._put(name, content) for name, content in attached.items()]
            source = self._client.submit(
                call_on_worker, function, job, chunk, tuple(attached), *files, pure=False, workers=self._fit
            )
        except Exception as error:
            # A client that closes just now has errors of many kinds.
            raise ExecutorAwayError(f"{self._trouble}: {type(error).__name__}: {error}") from error
        future = WorkerFuture()
        future.source, future.may_run_on = source, frozenset(self._fit)
        self._out.add(future)
        future.set_running_or_notify_cancel()
        source.add_done_callback(lambda done: _transfer(done, future))
        return future

    def _put(self, name: str, content: bytes) -> Any:
        """Files on one worker, from which others fetch them."""
        known = self._scattered.get(name)
        if known is None or known.status != "finished":
            known = self._scattered[name] = self._client.scatter(content, workers=self._fit, hash=True)
        return known

    def loss(self, error: BaseException) -> Loss:
        """See `ChunkExecutor`."""
        if isinstance(error, ImportError | AttributeError):
            return Loss.UNFIT
        away = (CancelledError, asyncio.CancelledError, TimeoutError, OSError)
        return Loss.AWAY if isinstance(error, away) else Loss.WORKER

    def refuse(self, future: Future[bytes], reason: str) -> None:
        """See `ChunkExecutor`."""
        if isinstance(future, WorkerFuture) and future.worker:
            with self._lock:
                self._checked[future.worker] = reason
            self._fit = [address for address in self._fit if address != future.worker]

    def forget(self, future: Future[bytes]) -> None:
        """See `ChunkExecutor`."""
        if isinstance(future, WorkerFuture) and self._is_connected():
            future.source.release()

    def _forget_client(self) -> None:
        client, self._client = self._client, None
        self._scattered = {}
        with self._lock:
            self._checked, self._checking = {}, set()
        if client is not None:
            # What went wrong with it was told when it did: a broken client may fail to close in any way of its libraries.
            with contextlib.suppress(Exception):
                client.close(timeout=CLOSE_S)

    def close(self) -> None:
        """See `ChunkExecutor`."""
        self._forget_client()


def call_on_worker(
    function: Callable[..., bytes], job: bytes, chunk: bytes, names: tuple[str, ...], *files: bytes
) -> tuple[str, bytes]:
    """On a worker: its address, and the answer."""
    from distributed import get_worker  # noqa: PLC0415 - as above

    return get_worker().address, function(job, chunk, tuple(zip(names, files, strict=True)))


def worker_parts() -> Mapping[str, str]:
    """On a worker: what it computes with."""
    from arbd.job.code import base_parts  # noqa: PLC0415 - as above

    return base_parts()


def _transfer(source: Any, future: WorkerFuture) -> None:
    """From Dask's future to one of the standard library."""
    try:
        future.worker, answer = source.result(timeout=CONNECT_S * 10)
    except BaseException as error:  # also the cancellation of a scheduler that is gone
        future.set_exception(error)
    else:
        future.set_result(answer)


def _security(settings: ExecutorSettings) -> Any:
    """What the file of secrets says; None for what Dask's own configuration says."""
    if settings.secret_file == Path():
        return None
    from distributed import Security  # noqa: PLC0415 - as above

    from arbd import strict_yaml  # noqa: PLC0415 - few need it

    path = settings.secret_file
    found = strict_yaml.load(path).value
    if not isinstance(found, dict) or set(found) != set(_SECRETS):
        raise UsageError(f"{path}: expected {', '.join(_SECRETS)}, each with the path of a PEM file")
    if path.stat().st_mode & 0o077:
        raise UsageError(f"{path}: other users can read it: chmod 600 {shlex.quote(str(path))}")
    return Security(require_encryption=True, **{name: str(path.parent / str(found[name])) for name in _SECRETS})


def _check(settings: ExecutorSettings) -> str:
    if not settings.scheduler:
        return "scheduler is missing; for example tls://head:8786"
    parts = urlsplit(settings.scheduler if "://" in settings.scheduler else f"tcp://{settings.scheduler}")
    if not parts.hostname or not parts.port:
        return f"scheduler is {settings.scheduler!r}; expected an address with a port, for example tls://head:8786"
    if parts.scheme in _ENCRYPTED or settings.unencrypted or _is_loopback(parts.hostname):
        return ""
    return (
        f"scheduler is {settings.scheduler}, which is on another host and not encrypted: whoever is on the way could have "
        "anything run on its workers, and here; use tls://, or allow it with `unencrypted: true`"
    )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


EXECUTOR = ExecutorKind(_check, DaskExecutor, lambda settings: settings.scheduler)
