"""Daemons and Redis: whatever happens to Redis, the session goes on, and afterwards Redis holds what the files say."""

from __future__ import annotations

import csv
import json
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.queue import SessionQueue
from tests.beds.redis_server import RedisServer
from tests.conftest import Arbctl, Daemons, wait_until
from tests.jobs import write_job

pytestmark = pytest.mark.bed
PREFIX = "tuning:test:paper:arbitrage:"


def with_mirror(config: Path, url: str) -> None:
    config.write_text(config.read_text() + f"mirror: {{redis: {{url: '{url}', env: test}}}}\n")


def recorded(layout: SpoolLayout, name: str) -> int:
    return SessionQueue(Files(), layout.session(name)).refresh().counted if layout.session(name).ledger.exists() else 0


def is_done(layout: SpoolLayout, name: str) -> Callable[[], bool]:
    paths = layout.session(name)
    return lambda: paths.ledger.exists() and SessionQueue(Files(), paths).refresh().done


def assert_redis_equals_the_table(server: RedisServer, layout: SpoolLayout, name: str, n: int) -> None:
    """The hashes, read as they are, against `results.csv`, read as it is."""

    def table() -> list[dict[str, str]]:
        with layout.session(name).results_csv.open(newline="") as file:
            return list(csv.DictReader(file))

    wait_until(lambda: len(table()) == n, what=f"a table of {n} rows")
    rows = table()
    with server.client as client:
        keys = list(client.scan_iter(match=f"{PREFIX}tuning_session:{name}:worker:*", count=1000))
        pipe = client.pipeline(transaction=False)
        for key in keys:
            pipe.hgetall(key)
        found = dict(zip(keys, pipe.execute(), strict=True))
    expected = {
        f"{PREFIX}tuning_session:{name}:worker:{row['worker_id']}:iteration:{row['iteration']}": {
            column: cell
            for column, cell in row.items()
            # The directions of a job are the same for all its rows, and stand in the table alone.
            if (cell or not column.startswith("metric_")) and not column.startswith("direction_")
        }
        for row in rows
    }
    assert found == expected


def mirror_of(arbctl: Arbctl, worker: str) -> dict[str, object]:
    documents = json.loads(arbctl("workers", "--json")[1])["workers"]
    return next((d["mirror"] or {} for d in documents if d["worker_id"] == worker), {})


def says(arbctl: Arbctl, worker: str, **wanted: object) -> Callable[[], bool]:
    return lambda: wanted.items() <= mirror_of(arbctl, worker).items()


def test_redis_killed_three_times_and_a_daemon_once_during_20_000_iterations(
    arbctl: Arbctl, daemons: Daemons, layout: SpoolLayout, redis_server: RedisServer, tmp_path: Path
) -> None:
    with_mirror(arbctl.config, redis_server.settings.url)
    job = write_job(tmp_path / "job.yaml", "samples:brisk", 20_000, results={"csv": True})
    arbctl("submit", job, "--session-id", "long")
    first, second = daemons.start("a", slots=1), daemons.start("b", slots=1)
    for blow, at in enumerate((2_000, 6_000, 10_000)):
        wait_until(lambda at=at: recorded(layout, "long") >= at)
        redis_server.kill()
        if blow == 1:
            first.send_signal(signal.SIGKILL)
            first.wait()
            daemons.start("a", slots=1)
        before = recorded(layout, "long")
        wait_until(lambda before=before: recorded(layout, "long") >= before + 500, what="work without Redis")
        if blow == 0:
            # The work is faster than the mirror's looks at a Redis that was up.
            wait_until(lambda: "the Redis mirror is down; results are safe" in daemons.log(), what="word of it")
        redis_server.start()
    wait_until(is_done(layout, "long"))
    daemons.stop()
    assert second.returncode == 0
    # What is left, the next start makes up, within the time that it may take to end.
    arbctl.config.write_text(arbctl.config.read_text().replace("drain_timeout_s: 5\n", "drain_timeout_s: 120\n"))
    assert daemons.start("a", "--burst").wait(150) == 0
    assert_redis_equals_the_table(redis_server, layout, "long", 20_000)
    code, out, _ = arbctl("mirror", "verify")
    assert (code, out) == (0, "long: 20,000 results, Redis holds the same\n")


def test_a_redis_that_is_down_or_silent_holds_nothing_up_and_is_told(
    arbctl: Arbctl, daemons: Daemons, layout: SpoolLayout, redis_server: RedisServer, tmp_path: Path
) -> None:
    with_mirror(arbctl.config, redis_server.settings.url)
    redis_server.kill()
    daemons.start("a")
    wait_until(says(arbctl, "a", state="down", behind=None))
    assert "a cannot reach Redis at unix://" in arbctl("workers")[1]
    arbctl(
        "submit", write_job(tmp_path / "job.yaml", "samples:quick", 500, results={"csv": True}), "--session-id", "dark"
    )
    wait_until(is_done(layout, "dark"))
    redis_server.start()
    wait_until(says(arbctl, "a", state="up", behind=0, written=500))
    assert "a mirrors to Redis at unix://" in arbctl("workers")[1]
    assert_redis_equals_the_table(redis_server, layout, "dark", 500)
    redis_server.stop_answering()
    arbctl(
        "submit", write_job(tmp_path / "job.yaml", "samples:quick", 700, results={"csv": True}), "--session-id", "mute"
    )
    wait_until(is_done(layout, "mute"))
    wait_until(says(arbctl, "a", state="down", behind=700))
    redis_server.go_on()
    wait_until(says(arbctl, "a", state="up", behind=0))
    assert_redis_equals_the_table(redis_server, layout, "mute", 700)
    assert daemons.log().count("the Redis mirror works again") == 2


def test_the_mirrors_process_is_started_again(
    arbctl: Arbctl, daemons: Daemons, layout: SpoolLayout, redis_server: RedisServer, tmp_path: Path
) -> None:
    with_mirror(arbctl.config, redis_server.settings.url)
    daemon = daemons.start("a", slots=1)
    wait_until(says(arbctl, "a", state="up"))
    with redis_server.client as client:
        wait_until(lambda: any(c["cmd"] == "ping" for c in client.client_list()))
    children = Path(f"/proc/{daemon.pid}/task")
    pids = [int(pid) for task in children.iterdir() for pid in (task / "children").read_text().split()]
    (mirror,) = [pid for pid in pids if Path(f"/proc/{pid}/comm").read_text() == "arbd-mirror\n"]
    os.kill(mirror, signal.SIGKILL)
    wait_until(lambda: "the mirror's process ended and is started again" in daemons.log())
    arbctl("submit", write_job(tmp_path / "job.yaml", "samples:quick", 100, results={"csv": True}), "--session-id", "s")
    wait_until(says(arbctl, "a", state="up", behind=0, written=100))
    assert_redis_equals_the_table(redis_server, layout, "s", 100)


def test_arbctl_mirror_rebuilds_verifies_and_removes(
    arbctl: Arbctl, daemons: Daemons, layout: SpoolLayout, redis_server: RedisServer, tmp_path: Path
) -> None:
    arbctl("submit", write_job(tmp_path / "job.yaml", "samples:quick", 60, results={"csv": True}), "--session-id", "s")
    assert daemons.start("a", "--burst").wait(60) == 0
    code, _, err = arbctl("mirror", "rebuild")
    assert (code, "no Redis is set: name one as mirror: redis: url: in arbd.yaml" in err) == (2, True)
    with_mirror(arbctl.config, redis_server.settings.url)
    code, out, _ = arbctl("mirror", "verify")
    assert (code, "s: 60 results, in Redis 60 missing; `arbctl mirror rebuild s`" in out) == (1, True)
    assert arbctl("mirror", "rebuild")[:2] == (0, "s: 60 results in Redis\n")
    assert_redis_equals_the_table(redis_server, layout, "s", 60)
    assert json.loads(arbctl("mirror", "verify", "s", "--json")[1])["sessions"][0]["equal"] is True
    assert arbctl("mirror", "rebuild", "absent")[0] == 3
    assert arbctl("mirror", "remove", "s")[:2] == (0, "s: 60 results removed\n")
    assert arbctl("mirror", "remove", "../s")[0] == 2
    redis_server.kill()
    code, _, err = arbctl("mirror", "verify")
    assert (code, "does not do its work" in err) == (4, True)


def test_a_redis_that_nobody_serves_is_told_with_its_address_and_without_its_password(
    arbctl: Arbctl, daemons: Daemons
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with_mirror(arbctl.config, f"redis://user:hunter2@127.0.0.1:{port}/0")
    daemons.start("a")
    wait_until(says(arbctl, "a", state="down"))
    shown = arbctl("workers")[1]
    assert f"redis://user:***@127.0.0.1:{port}/0" in shown
    assert "hunter2" not in shown + daemons.log()
