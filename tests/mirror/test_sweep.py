"""A sweep looks at every session it may, again at those that are settled, and lets no trouble of one hold up the others."""

from __future__ import annotations

import pytest
import redis

from arbd.errors import SpoolError
from arbd.mirror import sweep as sweeping
from arbd.mirror.follow import SessionMirror
from arbd.mirror.state import MovedError
from arbd.mirror.sweep import SpoolMirror, rebuild
from arbd.results.compaction import compact
from arbd.spool.layout import SessionPaths, SpoolLayout
from arbd.spool.ledger import CANCELLED, again, switched
from arbd.spool.queue import SessionQueue
from arbd.spool.sessions import REOPENED_PREFIX
from arbd.spool.spans import Span
from tests.beds.redis_server import RedisServer
from tests.mirror.test_mirror import FILES, PREFIX, in_files, in_redis, mirror_of, swept_clean
from tests.spool.sessions import exhaust, make_session, rows_of, write_rows


def session_with(layout: SpoolLayout, name: str, n: int, *, over: bool = False) -> SessionPaths:
    """A session whose n iterations all have a row."""
    paths = make_session(layout, n, name)
    write_rows(paths, "a", rows_of(1, n))
    if over:
        SessionQueue(FILES, paths).change(lambda _: [switched(CANCELLED)])
    return paths


def forgotten(server: RedisServer, *names: str) -> None:
    with server.client as client:
        for name in names:
            for key in list(client.scan_iter(match=f"{PREFIX}tuning_session:{name}:*")):
                client.delete(key)


class Time:
    """Stands until it is moved."""

    now_s = 0.0

    def monotonic_s(self) -> float:
        return self.now_s


def test_a_sweep_of_nothing_tells_all_the_same_that_redis_is_away(
    redis_server: RedisServer, layout: SpoolLayout
) -> None:
    mirror = mirror_of(redis_server, layout)
    redis_server.kill()
    with pytest.raises(redis.ConnectionError):
        mirror.sweep()
    assert mirror.behind() is None
    redis_server.start()
    assert mirror.sweep() == sweeping.Swept(0, more=False, behind=0, troubles={})


def test_a_turn_writes_some_rows_of_each_session_and_says_that_there_are_more(
    redis_server: RedisServer, layout: SpoolLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping, "ROWS_A_TURN", 4)
    for name, n in (("a", 9), ("b", 3)):
        paths = make_session(layout, n, name)
        write_rows(paths, "a", *(rows_of(first, 1) for first in range(1, n + 1)))
        exhaust(paths, n)
    mirror = mirror_of(redis_server, layout)
    found = [mirror.sweep() for _ in range(4)]
    assert [swept.written for swept in found] == [7, 4, 1, 0]
    assert [swept.behind for swept in found] == [5, 1, 0, 0]
    assert [swept.more for swept in found] == [True, True, False, False]


@pytest.mark.parametrize("at_once", [1, 2, 500])
def test_settled_sessions_are_looked_at_again_a_few_a_sweep_and_all_after_redis_was_away(
    redis_server: RedisServer, layout: SpoolLayout, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(sweeping, "RECHECKED_A_SWEEP", 2)
    monkeypatch.setattr(sweeping, "RECHECKED_AT_ONCE", at_once)
    names = "abcde"
    for name in names:
        session_with(layout, name, 2, over=True)
    mirror = mirror_of(redis_server, layout)
    assert swept_clean(mirror) == 10
    while mirror._to_recheck:
        mirror.sweep()
    forgotten(redis_server, *names)
    assert [mirror.sweep().written for _ in range(5)] == [4, 4, 2, 0, 0]
    redis_server.kill()
    with pytest.raises(redis.ConnectionError):
        mirror.sweep()
    redis_server.start()
    with pytest.MonkeyPatch.context() as patch:

        def no_ping() -> None:
            raise redis.ConnectionError

        patch.setattr(mirror._state, "ping", no_ping)
        with pytest.raises(redis.ConnectionError):
            mirror.sweep()
    forgotten(redis_server, *names)
    mirror._recheck_all = True
    assert mirror.sweep().written == 10
    assert {name: len(in_redis(redis_server, name)) for name in names} == dict.fromkeys(names, 2)


def test_what_redis_lost_while_it_failed_in_the_middle_of_a_sweep_is_written_by_the_next(
    redis_server: RedisServer, layout: SpoolLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping, "RECHECKED_A_SWEEP", 1)
    for name in "abc":
        session_with(layout, name, 2, over=True)
    mirror = mirror_of(redis_server, layout)
    swept_clean(mirror)
    session_with(layout, "d", 2)

    def fails(_session_id: str) -> None:
        raise redis.ConnectionError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mirror, "_turn", fails)
        with pytest.raises(redis.ConnectionError):
            mirror.sweep()
    forgotten(redis_server, *"abc")
    assert mirror.sweep().written == 8


@pytest.mark.parametrize("told", [True, False])
def test_a_settled_session_that_goes_on_is_followed_again(
    redis_server: RedisServer, layout: SpoolLayout, *, told: bool
) -> None:
    paths = session_with(layout, "s", 4)
    queue = exhaust(paths, 4)
    compact(FILES, paths)
    mirror = mirror_of(redis_server, layout)
    swept_clean(mirror)
    while mirror._to_recheck:
        mirror.sweep()
    queue.change(lambda _: [again([Span(4, 1, 1)], (1, 0, 0, 0), "asked for")])
    if told:
        FILES.publish(layout.sessions / f"{REOPENED_PREFIX}s", b"")
    write_rows(paths, "b", rows_of(4, 1, epoch=1, value=0.5))
    assert swept_clean(mirror) == 1
    assert in_redis(redis_server) == in_files(paths)


def test_a_session_in_trouble_is_left_alone_for_a_while_and_then_tried_again(
    redis_server: RedisServer, layout: SpoolLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = session_with(layout, "s", 4)
    exhaust(paths, 4)
    time, mirror = Time(), mirror_of(redis_server, layout)
    monkeypatch.setattr(mirror, "_clock", time)
    key = f"{PREFIX}tuning_session:s:mirror"
    with redis_server.client as client:
        client.set(key, "a text where a hash belongs")
        assert "WRONGTYPE" in mirror.sweep().troubles["s"]
        client.delete(key)
    time.now_s = sweeping.TROUBLE_PAUSE_S - 0.5
    swept = mirror.sweep()
    assert (swept.written, swept.behind, list(swept.troubles)) == (0, 4, ["s"])
    time.now_s = sweeping.TROUBLE_PAUSE_S
    assert mirror.sweep() == sweeping.Swept(4, more=False, behind=0, troubles={})


def test_a_session_that_cannot_be_read_is_in_trouble_and_let_go(redis_server: RedisServer, layout: SpoolLayout) -> None:
    damaged, good = session_with(layout, "damaged", 4), session_with(layout, "good", 4)
    whole = damaged.spec.read_bytes()
    mirror = mirror_of(redis_server, layout)
    damaged.spec.write_bytes(b"nothing")
    swept = mirror.sweep()
    assert (list(swept.troubles), swept.written) == (["damaged"], 4)
    assert str(damaged.spec) in swept.troubles["damaged"]
    assert in_redis(redis_server, "good") == in_files(good)
    damaged.spec.write_bytes(whole)
    assert mirror.sweep().written == 0, "it is left alone for a while"
    # Nobody holds it: another mirror takes it up.
    other = SpoolMirror(FILES, layout, redis_server.state(), redis_server.settings, only="damaged")
    assert other.sweep().written == 4


def test_of_two_mirrors_one_has_a_session_until_it_closes(redis_server: RedisServer, layout: SpoolLayout) -> None:
    paths = session_with(layout, "s", 4)
    exhaust(paths, 4)
    first, second = mirror_of(redis_server, layout), mirror_of(redis_server, layout)
    assert first.sweep().written == 4
    write_rows(paths, "b", rows_of(1, 4, epoch=1))
    # What another mirrors is not this one's to be behind with.
    assert second.sweep() == sweeping.Swept(0, more=False, behind=0, troubles={})
    first.close()
    assert second.sweep().written == 4
    assert first.sweep().written == 0
    assert in_redis(redis_server) == in_files(paths)


def test_only_the_session_that_is_asked_for_is_mirrored(redis_server: RedisServer, layout: SpoolLayout) -> None:
    for name in "ab":
        exhaust(session_with(layout, name, 3), 3)
    mirror = SpoolMirror(FILES, layout, redis_server.state(), redis_server.settings, only="b")
    assert mirror.sweep() == sweeping.Swept(3, more=False, behind=0, troubles={})
    assert in_redis(redis_server, "a") == {}


def test_of_a_session_that_goes_on_what_redis_lost_is_written_again_though_nothing_new_came(
    redis_server: RedisServer, layout: SpoolLayout
) -> None:
    paths = session_with(layout, "s", 4)
    mirror = mirror_of(redis_server, layout)
    assert swept_clean(mirror) == 4
    assert list(mirror._followed) == ["s"]
    forgotten(redis_server, "s")
    # The first look finds that Redis is elsewhere, the next begins again from there.
    assert [mirror.sweep().written for _ in range(3)] == [0, 4, 0]
    assert in_redis(redis_server) == in_files(paths)


def test_a_session_that_was_removed_is_forgotten_with_its_trouble(
    redis_server: RedisServer, layout: SpoolLayout
) -> None:
    damaged = session_with(layout, "s", 4)
    damaged.spec.write_bytes(b"nothing")
    mirror = mirror_of(redis_server, layout)
    assert list(mirror.sweep().troubles) == ["s"]
    FILES.remove_tree(damaged.folder)
    assert mirror.sweep().troubles == {}
    assert mirror.behind() == 0
    session_with(layout, "s", 2)
    assert swept_clean(mirror) == 2


def test_a_mirror_of_what_redis_has_all_of_reads_and_holds_nothing(
    redis_server: RedisServer, layout: SpoolLayout
) -> None:
    paths = session_with(layout, "s", 4)
    exhaust(paths, 4)
    compact(FILES, paths)
    first = mirror_of(redis_server, layout)
    assert swept_clean(first) == 4
    assert first._followed == {}
    second = mirror_of(redis_server, layout)
    assert second.sweep() == sweeping.Swept(0, more=False, behind=0, troubles={})
    assert (list(second._settled), second._followed) == (["s"], {})


def test_a_rebuild_that_another_writer_disturbs_each_time_ends_with_an_error(
    redis_server: RedisServer, layout: SpoolLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = session_with(layout, "s", 4)
    monkeypatch.setattr(sweeping, "REBUILD_TRIES", 3)
    tries, advance = [], SessionMirror.advance

    def disturbed(mirror: SessionMirror, limit: int) -> tuple[int, bool]:
        tries.append(limit)
        if len(tries) <= disturbances:
            raise MovedError
        return advance(mirror, limit)

    monkeypatch.setattr(SessionMirror, "advance", disturbed)
    disturbances = 3
    with pytest.raises(SpoolError, match="another writes it to Redis all the time"):
        rebuild(FILES, paths, redis_server.state(), lambda _: None)
    assert len(tries) == 3
    tries, disturbances = [], 2
    assert rebuild(FILES, paths, redis_server.state(), lambda _: None).results == 4


def test_what_was_rebuilt_is_settled_for_a_daemons_mirror(redis_server: RedisServer, layout: SpoolLayout) -> None:
    paths = session_with(layout, "s", 4)
    exhaust(paths, 4)
    state = redis_server.state()
    rebuild(FILES, paths, state, lambda _: None)
    running = mirror_of(redis_server, layout)
    running.sweep()
    assert list(running._followed) == ["s"]
    running.close()
    compact(FILES, paths)
    rebuild(FILES, paths, state, lambda _: None)
    mirror = mirror_of(redis_server, layout)
    mirror.sweep()
    assert list(mirror._settled) == ["s"]
