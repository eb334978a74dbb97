"""What Redis holds, and how it is changed: one hash per result, one hash per session that says how far it is.

Keeps: what is written and how far the mirror is change in one transaction, and only if Redis still is where the
writer believes it to be. So whatever Redis forgets in a crash, it forgets both, and nothing is skipped; and two
writers, or one that repeats itself, cannot spoil anything.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.exceptions import InvalidResponse, WatchError
from redis.retry import Retry

from arbd.errors import ArbdError, UsageError
from arbd.mirror.settings import RedisSettings
from arbd.results.keys import build_tuning_key

CONNECT_TIMEOUT_S = 2.0
ANSWER_TIMEOUT_S = 5.0
SCAN_COUNT = 1000
POSITION_SUFFIX = "mirror"
DONE = "done"

Fields = Mapping[str, str]


class MovedError(ArbdError):
    """Redis is not where this writer believed: another wrote, or Redis lost its data. Begin again from there."""


# What the library raises, or its caller, where an answer is none that Redis gives: another program listens there, or a
# proxy cut it in two. Its own errors for that are a few of the many ways.
_NONSENSE = (ValueError, TypeError, AttributeError, LookupError, RecursionError, AssertionError)


# The eviction policy under which Redis refuses writes when its memory is full, and removes nothing.
KEEPS_ALL = "noeviction"


class StateManager:
    """Results in Redis under `{namespace}:{key_prefix}:` and the key of the result. Errors are redis.RedisError."""

    def __init__(self, client: redis.Redis, namespace: str, key_prefix: str = "arbitrage") -> None:
        # Its methods are typed as if each might be asynchronous.
        self._client: Any = client
        self._prefix = f"{namespace}:{key_prefix}:"

    @classmethod
    def connect(cls, settings: RedisSettings) -> StateManager:
        """A manager for the settings; connects when it is first used. UsageError when the URL is none."""
        try:
            client = redis.Redis.from_url(
                settings.url,
                **({"password": settings.password()} if settings.password_file else {}),
                decode_responses=True,
                socket_connect_timeout=CONNECT_TIMEOUT_S,
                socket_timeout=ANSWER_TIMEOUT_S,
                # A connection that is made again in silence hides that Redis was started anew.
                retry=Retry(NoBackoff(), 0),
            )
        except ValueError:
            # The reason of the library would quote the part that it takes for a port: a password, if that holds a slash.
            raise UsageError(
                f"mirror.redis.url {settings.shown_url!r} is not usable: its port, database or an option is none"
            ) from None
        return cls(client, settings.namespace, settings.key_prefix)

    @contextlib.contextmanager
    def _answers(self) -> Iterator[None]:
        """An answer that makes no sense is a RedisError, and nothing more is read from where it came."""
        try:
            yield
        except redis.RedisError:
            raise
        except _NONSENSE as error:
            self._client.connection_pool.disconnect()
            raise InvalidResponse(
                f"what answers there is no Redis ({type(error).__name__}: {str(error)[:200]})"
            ) from error

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()

    def ping(self) -> None:
        """Ask whether Redis answers."""
        with self._answers():
            self._client.ping()

    def unfit(self) -> tuple[str, ...]:
        """What of this Redis makes it a bad place for results; nothing where its user may not ask."""
        try:
            with self._answers():
                said = {**self._client.info("memory"), **self._client.info("cluster")}
        except redis.ResponseError:
            return ()
        found = []
        policy = said.get("maxmemory_policy", KEEPS_ALL)
        if said.get("maxmemory") and policy != KEEPS_ALL:
            found.append(
                f"it removes keys when its memory is full (maxmemory-policy {policy}), results among them: "
                f"CONFIG SET maxmemory-policy {KEEPS_ALL}, or give the mirror a Redis of its own"
            )
        if said.get("cluster_enabled"):
            found.append(
                "it is a cluster, which refuses the mirror's transactions over keys of several slots: "
                "name a Redis that is none"
            )
        return tuple(found)

    def key(self, session_id: str, worker_id: str, iteration: int, suffix: str = "") -> str:
        """The full key of a result."""
        return self._prefix + build_tuning_key(session_id, worker_id, iteration, suffix)

    def result(self, session_id: str, worker_id: str, iteration: int) -> dict[str, str]:
        """The fields of one result, named as the columns of the CSV table; empty when there is none."""
        return self.results([self.key(session_id, worker_id, iteration)])[0]

    def results(self, keys: Sequence[str]) -> list[dict[str, str]]:
        """The fields under each key, in one round trip."""
        with self._answers(), self._client.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.hgetall(key)
            return [_fields(found) for found in pipe.execute()]

    def keys(self, session_id: str) -> Iterator[str]:
        """The keys of all results of a session, in no order; walks the whole database."""
        yield from self._matching(f"{self._prefix}tuning_session:{session_id}:worker:*")

    def session_of_results(self) -> Iterator[str]:
        """The session of each result of all, in no order; walks the whole database, and may name one twice."""
        begin = f"{self._prefix}tuning_session:"
        for key in self._matching(f"{begin}*:worker:*"):
            yield key.removeprefix(begin).partition(":")[0]

    def _matching(self, pattern: str) -> Iterator[str]:
        cursor: Any = "0"
        while True:
            with self._answers():
                cursor, keys = self._client.scan(cursor, match=pattern, count=SCAN_COUNT)
                if not all(isinstance(key, str) for key in keys):
                    raise TypeError("a key that is no text")
            yield from keys
            if cursor == 0:
                return

    def position(self, session_id: str) -> dict[str, str]:
        """How far the session is mirrored: `offset:rows` by segment, and `done` by epoch."""
        return self.positions([session_id])[0]

    def positions(self, session_ids: Sequence[str]) -> list[dict[str, str]]:
        """`position` of many, in one round trip."""
        return self.results([self._position_key(session_id) for session_id in session_ids])

    def _position_key(self, session_id: str) -> str:
        return f"{self._prefix}tuning_session:{session_id}:{POSITION_SUFFIX}"

    def change(
        self,
        session_id: str,
        believed: Fields,
        moved: Fields,
        *,
        remove: Sequence[str] = (),
        write: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        """In one transaction: take `remove` away, put `write` in place of what is there, and move on.

        MovedError, and nothing changes, unless the session's position is `believed`.
        """
        position = self._position_key(session_id)
        with self._answers(), self._client.pipeline(transaction=True) as pipe:
            try:
                pipe.watch(position)
                if pipe.hgetall(position) != dict(believed):
                    raise MovedError(f"another writes session {session_id} to Redis, or Redis lost its data")
                pipe.multi()
                _queue(pipe, remove, write or {})
                if moved:
                    pipe.hset(position, mapping=dict(moved))
                pipe.execute()
            except WatchError as error:
                raise MovedError(f"another writes session {session_id} to Redis") from error

    def forget_position(self, session_id: str) -> None:
        """Have every mirror begin the session again."""
        with self._answers():
            self._client.delete(self._position_key(session_id))

    def remove_session(self, session_id: str) -> int:
        """Remove everything of a session; how many results there were."""
        removed = 0
        batch: list[str] = []
        for key in self.keys(session_id):
            batch.append(key)
            if len(batch) >= SCAN_COUNT:
                removed += self._unlink(batch)
                batch.clear()
        if batch:
            removed += self._unlink(batch)
        self.forget_position(session_id)
        return removed

    def _unlink(self, keys: Sequence[str]) -> int:
        with self._answers():
            return int(self._client.unlink(*keys))


def _fields(found: Any) -> dict[str, str]:
    """A hash as Redis answers it; TypeError where it is something else."""
    if not isinstance(found, dict) or not all(isinstance(part, str) for item in found.items() for part in item):
        raise TypeError("a hash that is none")
    return found


def _queue(pipe: Any, remove: Sequence[str], write: Mapping[str, Mapping[str, Any]]) -> None:
    doomed = [*remove, *write]
    if doomed:
        pipe.delete(*doomed)
    for key, fields in write.items():
        pipe.hset(key, mapping=dict(fields))
