"""Redis holds what the files say: by whatever order rows come, whoever writes, whatever Redis forgets."""

from __future__ import annotations

import csv
import socket
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arbd.errors import UsageError
from arbd.job.stored import read_spec
from arbd.mirror.follow import STEP_ROWS, SessionMirror
from arbd.mirror.settings import RedisSettings
from arbd.mirror.state import MovedError, StateManager
from arbd.mirror.sweep import SpoolMirror, rebuild
from arbd.mirror.verify import verify
from arbd.results.columns import RowRules
from arbd.results.compaction import compact
from arbd.results.csv_writer import csv_lines
from arbd.results.session_rows import read_rows
from arbd.spool.files import Files
from arbd.spool.layout import SessionPaths, SpoolLayout
from arbd.spool.ledger import CANCELLED, COMPLETED, CRASHED, FAILED, again, switched
from arbd.spool.queue import SessionQueue
from arbd.spool.sessions import REOPENED_PREFIX
from arbd.spool.spans import Span
from tests.beds.redis_server import RedisServer
from tests.conftest import brought_up
from tests.fuzz.wrong_redis import REPLIES, RIGHT, wrong_redis
from tests.spool.sessions import exhaust, make_session, rows_of, write_rows

FILES = Files()
PREFIX = "tuning:test:paper:arbitrage:"


def in_redis(server: RedisServer, session_id: str = "s") -> dict[str, dict[str, str]]:
    """Every result hash, read without any code of the mirror."""
    with server.client as client:
        keys = list(client.scan_iter(match=f"{PREFIX}tuning_session:{session_id}:worker:*"))
        return {key: client.hgetall(key) for key in keys}  # type: ignore[misc]


def in_files(paths: SessionPaths, *, done: bool = False, rules: RowRules | None = None) -> dict[str, dict[str, str]]:
    """The session's CSV table, as the hashes should be."""
    spec = read_spec(FILES, paths)
    text = b"".join(csv_lines(spec, paths.session_id, read_rows(FILES, paths, done=done, rules=rules))).decode()
    found = {}
    for row in csv.DictReader(text.splitlines()):
        key = f"{PREFIX}tuning_session:{row['session_id']}:worker:{row['worker_id']}:iteration:{row['iteration']}"
        cells = {name: cell for name, cell in row.items() if not name.startswith("direction_")}
        found[key] = {name: cell for name, cell in cells.items() if cell or not name.startswith("metric_")}
    return found


def mirror_of(server: RedisServer, layout: SpoolLayout) -> SpoolMirror:
    return SpoolMirror(FILES, layout, server.state(), server.settings)


def swept_clean(mirror: SpoolMirror) -> int:
    """Sweep until nothing is left; how many rows were written."""
    written = 0
    while (swept := mirror.sweep()).more or swept.written:
        written += swept.written
    assert swept.troubles == {}
    return written


def test_each_result_is_a_hash_with_the_columns_of_the_table(redis_server: RedisServer, layout: SpoolLayout) -> None:
    paths = make_session(layout, 10)
    write_rows(paths, "host-a", rows_of(1, 6), rows_of(7, 2, status=FAILED))
    assert swept_clean(mirror_of(redis_server, layout)) == 8
    found = in_redis(redis_server)
    assert found == in_files(paths)
    assert found[f"{PREFIX}tuning_session:s:worker:host-a:iteration:3"] == {
        "session_id": "s", "worker_id": "host-a", "iteration": "3", "status": "completed",
        "timestamp": "2023-11-14T22:13:20Z", "duration_s": "0.5", "attempt": "1", "error": "",
        "param_x": "0.003", "param_kind": "down", "metric_value": "3.0",
    }  # fmt: skip
    assert found[f"{PREFIX}tuning_session:s:worker:host-a:iteration:7"]["error"] == "broken"
    state = redis_server.state()
    assert state.result("s", "host-a", 3)["metric_value"] == "3.0"
    assert state.result("s", "host-b", 3) == {}
    assert state.key("s", "w", 1, "blocks") == f"{PREFIX}tuning_session:s:worker:w:iteration:1:blocks"


def test_what_is_new_is_added_and_a_second_mirror_goes_on_where_the_first_was(
    redis_server: RedisServer, layout: SpoolLayout
) -> None:
    paths = make_session(layout, 3_000)
    write_rows(paths, "a", rows_of(1, 1_200), slot="0.1")
    first = mirror_of(redis_server, layout)
    assert swept_clean(first) == 1_200
    write_rows(paths, "a", rows_of(1_201, 700), slot="0.2")
    assert swept_clean(first) == 700
    first.close()
    write_rows(paths, "b", rows_of(1_901, 1_100))
    assert swept_clean(mirror_of(redis_server, layout)) == 1_100
    assert in_redis(redis_server) == in_files(paths)


rows = st.tuples(
    st.sampled_from("abc"),
    st.integers(1, 6),
    st.integers(1, 3),
    st.sampled_from((COMPLETED, CRASHED)),
    st.integers(0, 2),
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(batches=st.lists(rows, min_size=1, max_size=8), splits=st.sets(st.integers(0, 8)), again_from=st.integers(0, 8))
def test_the_hashes_are_the_rows_that_the_files_choose_in_whatever_order_they_are_seen(
    redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory, batches: list[tuple[str, int, int, int, int]],
    splits: set[int], again_from: int,
) -> None:  # fmt: skip
    with redis_server.client as client:
        client.flushall()
    layout = SpoolLayout(tmp_path_factory.mktemp("spool"))
    layout.prepare()
    paths = make_session(layout, 8)
    mirror = mirror_of(redis_server, layout)
    for number, (worker, first, count, status, epoch) in enumerate(batches):
        write_rows(paths, worker, rows_of(first, count, status=status, epoch=epoch, value=number), slot=f"{number}.1")
        if number in splits:
            swept_clean(mirror)
        if number == again_from:
            mirror.close()
            mirror = mirror_of(redis_server, layout)
    swept_clean(mirror)
    mirror.close()
    assert in_redis(redis_server) == in_files(paths)


def test_a_redis_that_forgot_everything_is_filled_again(forgetful_redis: RedisServer, layout: SpoolLayout) -> None:
    running, done = make_session(layout, 900, "running"), make_session(layout, 600, "done")
    write_rows(running, "a", rows_of(1, 800))
    write_rows(done, "a", rows_of(1, 600))
    exhaust(done, 600)
    compact(FILES, done)
    mirror = mirror_of(forgetful_redis, layout)
    assert swept_clean(mirror) == 1_400
    forgetful_redis.kill()
    with pytest.raises(redis.ConnectionError):
        mirror.sweep()
    write_rows(running, "b", rows_of(801, 10))
    forgetful_redis.start()
    swept_clean(mirror)
    assert in_redis(forgetful_redis, "running") == in_files(running)
    assert in_redis(forgetful_redis, "done") == in_files(done, done=True)


def test_a_redis_that_was_emptied_behind_the_mirrors_back_is_filled_again(
    redis_server: RedisServer, layout: SpoolLayout
) -> None:
    paths = make_session(layout, 20)
    write_rows(paths, "a", rows_of(1, 15))
    mirror = mirror_of(redis_server, layout)
    swept_clean(mirror)
    with redis_server.client as client:
        client.flushall()
    write_rows(paths, "b", rows_of(16, 5))
    mirror.sweep()
    swept_clean(mirror)
    assert in_redis(redis_server) == in_files(paths)


def test_a_writer_that_is_not_where_redis_is_changes_nothing(redis_server: RedisServer, layout: SpoolLayout) -> None:
    paths = make_session(layout, 20)
    spec = read_spec(FILES, paths)
    write_rows(paths, "a", rows_of(1, 10))
    one, two = (SessionMirror(FILES, paths, spec, redis_server.state()) for _ in range(2))
    assert one.advance(100) == (10, True)
    with pytest.raises(MovedError):
        two.advance(100)
    assert in_redis(redis_server) == in_files(paths)
    assert SessionMirror(FILES, paths, spec, redis_server.state()).advance(100) == (0, True)


def test_a_step_that_redis_did_not_take_is_written_by_the_next(redis_server: RedisServer, layout: SpoolLayout) -> None:
    paths = make_session(layout, 2_000)
    write_rows(paths, "a", rows_of(1, 2_000))
    state = redis_server.state()
    mirror = SessionMirror(FILES, paths, read_spec(FILES, paths), state)
    assert mirror.advance(500) == (500, False)
    redis_server.kill()
    for _ in range(2):
        with pytest.raises(redis.ConnectionError):
            mirror.advance(1_000)
    redis_server.start()
    assert mirror.advance(10_000) == (1_500, True)
    assert in_redis(redis_server) == in_files(paths)


def test_a_retried_iteration_has_the_hash_of_its_newest_run_alone(
    redis_server: RedisServer, layout: SpoolLayout
) -> None:
    paths = make_session(layout, 4)
    write_rows(paths, "a", rows_of(1, 3), rows_of(4, 1, status=FAILED))
    queue = exhaust(paths, 4, (3, 1, 0, 0))
    compact(FILES, paths)
    mirror = mirror_of(redis_server, layout)
    swept_clean(mirror)
    assert in_redis(redis_server)[f"{PREFIX}tuning_session:s:worker:a:iteration:4"]["status"] == "failed"
    queue.change(lambda state: [again([Span(4, 1, 1)], (0, 1, 0, 0), "asked for")])
    FILES.publish(layout.sessions / f"{REOPENED_PREFIX}s", b"")
    write_rows(paths, "b", rows_of(4, 1, epoch=1, value=0.5))
    swept_clean(mirror)
    found = in_redis(redis_server)
    assert found == in_files(paths)
    assert f"{PREFIX}tuning_session:s:worker:a:iteration:4" not in found


@pytest.mark.parametrize("originals_first", [True, False])
def test_a_duplicate_has_the_hash_of_its_originals_newest_run(
    redis_server: RedisServer, layout: SpoolLayout, *, originals_first: bool
) -> None:
    count = 2 * STEP_ROWS + 10
    paths = make_session(layout, 2 * count + 1)
    originals = [rows_of(1, count, status=FAILED)]
    # The last of them shares the result of one that is not there yet.
    origin = np.append(np.arange(1, count), 2 * count + 1)
    duplicates = [replace(rows_of(count + 1, count), metrics={}, origin=origin)]
    mirror = mirror_of(redis_server, layout)
    for number, batches in enumerate((originals, duplicates) if originals_first else (duplicates, originals)):
        write_rows(paths, "a", *batches, slot=f"{number}.1")
        swept_clean(mirror)
        assert in_redis(redis_server) == in_files(paths)
    write_rows(paths, "b", rows_of(1, count, epoch=1), slot="9.1")
    swept_clean(mirror)
    assert in_redis(redis_server) == in_files(paths)
    assert len(in_redis(redis_server)) == 2 * count - 1
    assert verify(FILES, paths, redis_server.state()).equal


def test_duplicates_that_redis_did_not_take_are_written_by_the_next(
    redis_server: RedisServer, layout: SpoolLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = make_session(layout, 20)
    duplicates = replace(rows_of(11, 5), metrics={}, origin=np.arange(1, 6))
    write_rows(paths, "a", rows_of(1, 10), duplicates)
    spec, state = read_spec(FILES, paths), redis_server.state()
    mirror = SessionMirror(FILES, paths, spec, state)
    taken = mirror._change
    taken_whole: list[bool] = []

    def dies_after_the_rows(move: dict[str, str], remove: list[str], write: dict[str, dict[str, str]]) -> None:
        if not move:
            raise redis.ConnectionError
        taken(move, remove, write)
        taken_whole.append(True)

    monkeypatch.setattr(mirror, "_change", dies_after_the_rows)
    with pytest.raises(redis.ConnectionError):
        mirror.advance(100)
    assert taken_whole
    # Another one, and the same one.
    for goes_on in (SessionMirror(FILES, paths, spec, state), mirror):
        with redis_server.client as client:
            client.delete(f"{PREFIX}tuning_session:s:worker:a:iteration:11")
        monkeypatch.undo()
        goes_on.advance(100)
        assert in_redis(redis_server) == in_files(paths)


@pytest.mark.parametrize("count", [STEP_ROWS, STEP_ROWS + 1, 2 * STEP_ROWS + 1])
def test_every_row_of_a_long_batch_is_mirrored_and_its_worker_known(
    redis_server: RedisServer, layout: SpoolLayout, count: int
) -> None:
    paths = make_session(layout, count)
    write_rows(paths, "a", rows_of(1, count, status=FAILED))
    mirror = mirror_of(redis_server, layout)
    assert swept_clean(mirror) == count
    write_rows(paths, "b", rows_of(1, count, epoch=1))
    assert swept_clean(mirror) == count
    assert in_redis(redis_server) == in_files(paths)
    exhaust(paths, count)
    compact(FILES, paths)
    assert verify(FILES, paths, redis_server.state()).equal


def test_hashes_of_an_earlier_version_lack_what_was_added_and_are_not_called_wrong(
    redis_server: RedisServer, layout: SpoolLayout
) -> None:
    paths = make_session(layout, 4, constraints=("value <= 2",))
    write_rows(paths, "a", rows_of(1, 4))
    swept_clean(mirror_of(redis_server, layout))
    key = f"{PREFIX}tuning_session:s:worker:a:iteration:4"
    hashed = in_redis(redis_server)[key]
    assert (hashed["feasible"], hashed["violation"]) == ("False", "0.5")
    assert not any(name.startswith("direction_") for name in hashed)
    with redis_server.client as client:
        client.hdel(key, "feasible", "violation")
        assert verify(FILES, paths, redis_server.state()).equal
        client.hset(key, "feasible", "True")
        assert verify(FILES, paths, redis_server.state()).wrong == (key,)
        client.hset(key, "feasible", "False")
        client.hdel(key, "metric_value")
        assert verify(FILES, paths, redis_server.state()).wrong == (key,)


def test_rows_that_came_after_the_session_was_compacted_do_not_count(
    redis_server: RedisServer, layout: SpoolLayout
) -> None:
    paths = make_session(layout, 10)
    write_rows(paths, "b", rows_of(1, 10))
    exhaust(paths, 10)
    compact(FILES, paths)
    write_rows(paths, "a", rows_of(3, 2, value=0.25))
    swept_clean(mirror_of(redis_server, layout))
    assert in_redis(redis_server) == in_files(paths, done=True)
    assert verify(FILES, paths, redis_server.state()).equal


def test_a_session_under_the_id_of_one_that_was_removed_starts_afresh(
    redis_server: RedisServer, layout: SpoolLayout
) -> None:
    first = make_session(layout, 5)
    write_rows(first, "a", rows_of(1, 5), incarnation=7)
    mirror = mirror_of(redis_server, layout)
    swept_clean(mirror)
    FILES.remove_tree(first.folder)
    mirror.sweep()
    second = make_session(layout, 3)
    write_rows(second, "b", rows_of(1, 3), incarnation=8)
    swept_clean(mirror)
    assert in_redis(redis_server) == in_files(second)


def test_one_session_that_redis_refuses_does_not_keep_the_others_waiting(
    redis_server: RedisServer, layout: SpoolLayout
) -> None:
    bad, good = make_session(layout, 5, "bad"), make_session(layout, 5, "good")
    for paths in (bad, good):
        write_rows(paths, "a", rows_of(1, 5))
    with redis_server.client as client:
        client.set(f"{PREFIX}tuning_session:bad:mirror", "a text where a hash belongs")
    swept = mirror_of(redis_server, layout).sweep()
    assert list(swept.troubles) == ["bad"]
    assert "WRONGTYPE" in swept.troubles["bad"]
    assert in_redis(redis_server, "good") == in_files(good)


def test_rows_that_are_none_of_the_session_are_left_out_and_the_mirror_goes_on(
    redis_server: RedisServer, layout: SpoolLayout
) -> None:
    paths = make_session(layout, 20)
    foreign = replace(rows_of(1, 3, epoch=9), params={"zzz": np.ones(3)})
    write_rows(paths, "a", rows_of(1, 4), foreign, rows_of(5, 4), rows_of(19, 5, epoch=9), rows_of(9, 2))
    mirror = mirror_of(redis_server, layout)
    assert swept_clean(mirror) == 10
    mirror.close()
    write_rows(paths, "b", foreign, rows_of(11, 10))
    # This one remembers first what Redis has.
    assert swept_clean(mirror_of(redis_server, layout)) == 10
    assert in_redis(redis_server) == in_files(paths, rules=RowRules.of(read_spec(FILES, paths)))
    assert len(in_redis(redis_server)) == 20


def test_lag_is_what_the_ledger_records_and_redis_has_not(redis_server: RedisServer, layout: SpoolLayout) -> None:
    paths = make_session(layout, 40)
    write_rows(paths, "a", rows_of(1, 40))
    mirror = mirror_of(redis_server, layout)
    assert mirror.behind() is None
    swept_clean(mirror)
    redis_server.kill()
    exhaust(paths, 40)
    assert mirror.behind() == 0
    other = make_session(layout, 7, "other")
    write_rows(other, "a", rows_of(1, 7))
    exhaust(other, 7)
    with pytest.raises(redis.ConnectionError):
        mirror.sweep()
    assert mirror.behind() == 7


def test_rebuild_puts_right_what_hands_spoiled(redis_server: RedisServer, layout: SpoolLayout) -> None:
    paths = make_session(layout, 1_300)
    write_rows(paths, "a", rows_of(1, 1_300))
    exhaust(paths, 1_300)
    compact(FILES, paths)
    mirror = mirror_of(redis_server, layout)
    swept_clean(mirror)
    key = f"{PREFIX}tuning_session:s:worker:a:iteration:"
    with redis_server.client as client:
        client.delete(key + "5")
        client.hset(key + "6", "metric_value", "1e9")
        client.hset(key + "6", "surplus", "x")
        client.hset(f"{PREFIX}tuning_session:s:worker:ghost:iteration:7", "status", "completed")
    state = redis_server.state()
    found = verify(FILES, paths, state)
    assert (found.missing, found.wrong) == ((key + "5",), (key + "6",))
    assert found.extra == (f"{PREFIX}tuning_session:s:worker:ghost:iteration:7",)
    counts: list[int] = []
    rebuilt = rebuild(FILES, paths, state, counts.append)
    assert (rebuilt.results, rebuilt.removed, counts[-1]) == (1_300, 1, 1_300)
    assert verify(FILES, paths, state).equal
    assert in_redis(redis_server) == in_files(paths, done=True)
    assert swept_clean(mirror) == 0  # what the daemon's mirror finds settled again is settled
    assert state.remove_session("s") == 1_300
    with redis_server.client as client:
        assert client.dbsize() == 0


def test_a_cancelled_session_is_mirrored_as_far_as_it_came(redis_server: RedisServer, layout: SpoolLayout) -> None:
    paths = make_session(layout, 50)
    write_rows(paths, "a", rows_of(1, 20))
    SessionQueue(FILES, paths).change(lambda state: [switched(CANCELLED)])
    mirror = mirror_of(redis_server, layout)
    swept_clean(mirror)
    assert in_redis(redis_server) == in_files(paths)


def test_settings_are_checked_and_passwords_are_not_shown(tmp_path: Path) -> None:
    settings = RedisSettings(url="redis://arbd:secret@cache:6379/2?password=other", env="dev")
    assert settings.shown_url == "redis://arbd:***@cache:6379/2"
    assert settings.namespace == "tuning:dev:paper"
    assert settings.target == RedisSettings(url="redis://arbd:changed@cache:6379/2", env="dev").target
    for wrong, message in (
        (RedisSettings(url="cache:6379"), "begins with redis://"),
        (RedisSettings(env="a:b"), "env is 'a:b'"),
        (RedisSettings(key_prefix=""), "key_prefix is ''"),
    ):
        with pytest.raises(UsageError, match=message):
            wrong.check("arbd.yaml")
    with pytest.raises(UsageError, match="password_file .* cannot be read: No such file"):
        StateManager.connect(RedisSettings(url="redis://x", password_file=str(tmp_path / "absent")))
    with pytest.raises(UsageError, match="not usable"):
        StateManager.connect(RedisSettings(url="redis://cache:port"))


def test_a_password_from_a_file_opens_redis(redis_server: RedisServer, tmp_path: Path) -> None:
    with redis_server.client as client:
        client.config_set("requirepass", "open sesame")
    (tmp_path / "secret").write_text("open sesame\n")
    with pytest.raises(redis.AuthenticationError):
        redis_server.state().ping()
    StateManager.connect(RedisSettings(redis_server.settings.url, str(tmp_path / "secret"))).ping()


def test_a_redis_that_removes_results_is_told_and_one_that_keeps_them_is_not(redis_server: RedisServer) -> None:
    state = redis_server.state()
    assert state.unfit() == ()
    with redis_server.client as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        # Without a limit nothing is ever removed.
        assert state.unfit() == ()
        client.config_set("maxmemory", "100mb")
        assert ["allkeys-lru" in text for text in state.unfit()] == [True]
        client.config_set("maxmemory-policy", "noeviction")
        assert state.unfit() == ()
        client.acl_setuser("default", enabled=True, nopass=True, categories=["+@all"], commands=["-info"], keys=["*"])
        # Who may not ask is not told.
        assert redis_server.state().unfit() == ()


def test_a_redis_that_is_a_cluster_is_told() -> None:
    with tempfile.TemporaryDirectory(prefix="arbd-redis-") as folder:
        options = ("--cluster-enabled", "yes", "--port", str(free_port()), "--bind", "127.0.0.1")
        with brought_up(RedisServer(Path(folder), options=options)) as server:
            assert ["is a cluster" in text for text in server.state().unfit()] == [True]


@pytest.mark.parametrize("greeted", [True, False], ids=["after a right greeting", "from the first byte"])
@pytest.mark.parametrize("reply", REPLIES, ids=repr)
def test_what_is_no_redis_ends_every_question_in_an_error_of_redis(reply: bytes, greeted: bool) -> None:
    def answer(request: bytes) -> bytes:
        right = [RIGHT[word] for word in (b"HELLO", b"SETINFO") if greeted and word in request]
        return right[0] if right else reply

    with wrong_redis(answer) as place:
        state = StateManager.connect(RedisSettings(url=f"unix://{place}?socket_timeout=0.1", env="test"))
        asked = [
            state.ping,
            state.unfit,
            lambda: state.position("s"),
            lambda: list(state.keys("s")),
            lambda: state.change("s", {}, {"done": "1"}, write={"k": {"a": "b"}}),
            lambda: state.forget_position("s"),
        ]
        for ask in asked:
            try:
                ask()
            except (redis.RedisError, MovedError) as error:
                assert str(error)
        state.close()


def free_port() -> int:
    """A port that nobody listens on, with room for the one that a cluster's nodes speak on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    return port if port < 55_000 else port - 20_000
