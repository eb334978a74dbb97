"""What Redis lost in silence, or has too much of, is found by counting once a day; and what is on its way is no difference."""

from __future__ import annotations

from arbd.mirror.daily_count import DailyCount
from arbd.mirror.sweep import SpoolMirror
from arbd.mirror.verify import Waiting, verify
from arbd.results.compaction import compact
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from tests.beds.redis_server import RedisServer
from tests.mirror.test_mirror import FILES, PREFIX, in_files, in_redis, mirror_of, swept_clean
from tests.spool.sessions import exhaust, make_session, rows_of, write_rows

N = 40


class Clock(Waiting):
    """Its seconds pass when a test says so, and something happens when they do."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.then = lambda: None

    def monotonic_s(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        self.then()


def done_and_mirrored(redis_server: RedisServer, layout: SpoolLayout, *names: str) -> tuple[SpoolMirror, Clock]:
    for name in names:
        paths = make_session(layout, N, name)
        write_rows(paths, "a", rows_of(1, N))
        exhaust(paths, N)
        compact(FILES, paths)
    mirror, clock = mirror_of(redis_server, layout), Clock()
    mirror.daily = DailyCount(redis_server.state(), clock, first_s=100.0)
    swept_clean(mirror)
    return mirror, clock


def test_what_redis_lost_in_silence_is_found_told_and_written_again(
    redis_server: RedisServer, layout: SpoolLayout
) -> None:
    mirror, clock = done_and_mirrored(redis_server, layout, "s", "whole")
    with redis_server.client as client:
        client.delete(*(f"{PREFIX}tuning_session:s:worker:a:iteration:{number}" for number in (3, 4)))
    assert mirror.sweep().troubles == {}
    assert len(in_redis(redis_server)) == N - 2, "nothing else sees it"
    clock.now_s = 101.0
    told = mirror.sweep().troubles
    assert list(told) == ["s"]
    assert "Redis had 38 of 40 results at the daily count" in told["s"]
    while (swept := mirror.sweep()).more or swept.written:
        assert list(swept.troubles) == ["s"], "it is told until the next count"
    assert in_redis(redis_server) == in_files(layout.session("s"), done=True)
    clock.now_s += mirror.daily.every_s + 1
    assert mirror.sweep().troubles == {}


def test_what_redis_has_too_much_of_is_told_and_left_to_a_person(
    redis_server: RedisServer, layout: SpoolLayout
) -> None:
    mirror, clock = done_and_mirrored(redis_server, layout, "s")
    with redis_server.client as client:
        client.hset(f"{PREFIX}tuning_session:s:worker:z:iteration:1", "session_id", "s")
    clock.now_s = 101.0
    assert "`arbctl mirror rebuild s`" in mirror.sweep().troubles["s"]
    assert len(in_redis(redis_server)) == N + 1


def test_a_count_goes_over_many_sweeps_and_passes_over_what_changed_meanwhile(
    redis_server: RedisServer, layout: SpoolLayout
) -> None:
    done_and_mirrored(redis_server, layout, "s")
    clock = Clock()
    count = DailyCount(redis_server.state(), clock, first_s=0.0)
    assert count.step({"s": N + 1}) == {"s": (N, N + 1)}
    clock.now_s += count.every_s
    count._walk, count._expected = iter(()), {"s": 7}
    assert count.step({"s": N}) == {}


def test_what_is_on_its_way_is_no_difference_and_what_stays_away_is(
    redis_server: RedisServer, layout: SpoolLayout
) -> None:
    paths = make_session(layout, N)
    write_rows(paths, "a", rows_of(1, 10))
    mirror, clock = mirror_of(redis_server, layout), Clock()
    swept_clean(mirror)
    write_rows(paths, "a", rows_of(11, 5), slot="1.1")
    clock.then = lambda: swept_clean(mirror) and None
    found = verify(Files(), paths, redis_server.state(), clock=clock)
    assert (found.equal, found.results, found.on_its_way) == (True, 15, 5)
    clock.then = lambda: None
    with redis_server.client as client:
        key = f"{PREFIX}tuning_session:s:worker:a:iteration:3"
        client.delete(key)
    found = verify(Files(), paths, redis_server.state(), clock=clock)
    assert (found.missing, found.on_its_way) == ((key,), 0)
