"""An executor of somebody else's, called in a thread of its own: a call that does not return holds up no more than calls.

Some executors take a chunk only once there is room for it, and a scheduler that hangs answers nothing at all. Answers
come all the same, and what has not been taken yet can be given back.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, InvalidStateError
from dataclasses import replace

from arbd.daemon.executors.protocol import ChunkExecutor, ExecutorView, Loss

# A call that takes longer is told; one that takes so much longer is no sign of a full executor any more.
SLOW_S = 5.0
STUCK_S = 60.0
# What it was asked to take is not waited for any longer either.
LOST_S = 10 * STUCK_S
# When its client is let go of, nothing is waited for but its good will.
CLOSE_S = 5.0


class SentChunk(Future[bytes]):
    """The answer to a chunk that the executor is asked to take. `source` is the executor's own, once it took it.

    `refused` is why it did not take it, `loss` what its exception means.
    """

    source: Future[bytes] | None = None
    refused: Exception | None = None
    loss: Loss = Loss.AWAY

    def __init__(self) -> None:
        super().__init__()
        self._taking = threading.Lock()
        self.is_forgotten = False

    def take(self, source: Future[bytes]) -> bool:
        """The executor took it; False when nobody waits for it any more."""
        with self._taking:
            self.source = source
            return not self.is_forgotten and not self.cancelled()

    def forget(self) -> Future[bytes] | None:
        """Nobody waits for it any more; what the executor took of it."""
        with self._taking:
            self.is_forgotten = True
            return self.source

    def cancel(self) -> bool:
        """True when it will not be evaluated, as far as the executor can tell."""
        with self._taking:
            if self.source is None:
                return super().cancel()
        # Whoever hears of the end of that one ends this one.
        return self.source.cancel()

    def end_cancelled(self) -> None:
        """The executor's own was."""
        super().cancel()

    def end(self, outcome: bytes | BaseException) -> None:
        """It has an answer or none. Of several the first counts, and none where nobody waits for it any more."""
        with contextlib.suppress(InvalidStateError):
            if isinstance(outcome, BaseException):
                self.set_exception(outcome)
            else:
                self.set_result(outcome)


class PatientExecutor:
    """Not thread-safe but for what futures do: one thread calls this, and another one the executor."""

    def __init__(self, executor: ChunkExecutor, look_s: float) -> None:
        self._executor = executor
        self._look_s = look_s
        self._calls: queue.SimpleQueue[tuple[str, Callable[[], None]] | None] = queue.SimpleQueue()
        self._view = ExecutorView(0)
        self._error: Exception | None = None
        self._current: tuple[str, float] | None = None
        self._is_closing = False
        # What the executor is being asked to take.
        self.taking: SentChunk | None = None
        self._thread = threading.Thread(target=self._work, name="executor-calls", daemon=True)
        self._thread.start()

    def look(self) -> ExecutorView:
        """As of a moment ago. Raises what a call raised that must not."""
        if self._error is not None:
            raise self._error
        current = self._current
        if current is None or (took_s := time.monotonic() - current[1]) < SLOW_S:
            return self._view
        ready = self._view.ready if took_s < STUCK_S else 0
        return replace(self._view, ready=ready, waits_for=f"the executor, whose `{current[0]}` does not return")

    @property
    def is_stuck(self) -> bool:
        """True when it is not to be expected that it takes anything."""
        current = self._current
        return current is not None and time.monotonic() - current[1] >= STUCK_S

    @property
    def may_take(self) -> SentChunk | None:
        """What the executor may be about to take, however slowly; None when nothing is, or it has taken far too long."""
        current = self._current
        is_lost = current is not None and time.monotonic() - current[1] >= LOST_S
        return None if is_lost else self.taking

    def submit(
        self, function: Callable[..., bytes], job: bytes, chunk: bytes, attached: Mapping[str, bytes]
    ) -> SentChunk:
        """Ask it to take a chunk."""
        sent = SentChunk()
        self._calls.put(("submit", lambda: self._submit(sent, function, job, chunk, attached)))
        return sent

    def refuse(self, sent: SentChunk, reason: str) -> None:
        """See `ChunkExecutor`."""
        if (source := sent.source) is not None:
            self._calls.put(("refuse", lambda: self._executor.refuse(source, reason)))

    def forget(self, sent: SentChunk) -> None:
        """See `ChunkExecutor`."""
        if (source := sent.forget()) is not None:
            self._calls.put(("forget", lambda: self._executor.forget(source)))

    def close(self) -> None:
        """Let go of it, as far as it lets one; what it was not asked to take yet it is not asked for any more."""
        self._is_closing = True
        self._calls.put(None)
        self._thread.join(CLOSE_S)

    def _work(self) -> None:
        next_look_s = 0.0
        try:
            while True:
                if time.monotonic() >= next_look_s:
                    self._call("look", self._look)
                    next_look_s = time.monotonic() + self._look_s
                with contextlib.suppress(queue.Empty):
                    call = self._calls.get(timeout=max(0.0, next_look_s - time.monotonic()))
                    if call is None:
                        return
                    self._call(*call)
        except BaseException as error:  # whatever ended this thread: nobody else would ask the executor any more
            # `look` raises it, where somebody hears of it.
            self._error = error if isinstance(error, Exception) else RuntimeError(f"the executor raised {error!r}")
        finally:
            self._call("close", self._executor.close)

    def _call(self, name: str, call: Callable[[], None]) -> None:
        self._current = name, time.monotonic()
        call()
        self._current = None

    def _look(self) -> None:
        self._view = self._executor.look()

    def _submit(
        self,
        sent: SentChunk,
        function: Callable[..., bytes],
        job: bytes,
        chunk: bytes,
        attached: Mapping[str, bytes],
    ) -> None:
        if self._is_closing or sent.cancelled() or sent.is_forgotten:
            return
        self.taking = sent
        try:
            source = self._executor.submit(function, job, chunk, attached)
        except Exception as error:
            # Whoever waits for it says what that means.
            sent.refused = error
            sent.end(error)
            return
        if sent.take(source):
            source.add_done_callback(lambda done: self._answered(sent, done))
        else:
            self._executor.forget(source)

    def _answered(self, sent: SentChunk, source: Future[bytes]) -> None:
        """In any thread. What an exception means is asked where the executor is called."""
        try:
            answer = source.result()
        except BaseException as error:  # whatever ended the chunk there
            if source.cancelled():
                sent.end_cancelled()
            else:
                lost = error
                self._calls.put(("loss", lambda: self._lost(sent, lost)))
        else:
            sent.end(answer)

    def _lost(self, sent: SentChunk, error: BaseException) -> None:
        sent.loss = self._executor.loss(error)
        sent.end(error)
