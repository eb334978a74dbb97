"""Sessions end on real daemons, one is killed while it tells: everybody hears of each end, and of what cannot be told."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from arbd.spool.layout import SpoolLayout
from tests.conftest import Arbctl, Daemons, wait_until
from tests.daemon.notices.servers import mail_server, webhook
from tests.daemon.notices.test_senders import program
from tests.jobs import write_job

pytestmark = pytest.mark.bed


def submit(arbctl: Arbctl, tmp_path: Path, name: str) -> None:
    assert arbctl("submit", write_job(tmp_path / "job.yaml", "samples:quick", 8), "--session-id", name)[0] == 0


def test_every_target_hears_of_every_end_also_when_the_one_that_tells_is_killed(
    arbctl: Arbctl, daemons: Daemons, layout: SpoolLayout, tmp_path: Path
) -> None:
    told = program(tmp_path / "tell", f'echo "$ARBD_SESSION_ID" >> {tmp_path}/heard')
    settings = tmp_path / "telling.yaml"
    with webhook() as hook, mail_server() as post:
        settings.write_text(
            daemons.config.read_text()
            + "notify:\n"
            + f"  smtp: {{host: 127.0.0.1, port: {post.port}, sender: arbd@example.org}}\n"
            + "  targets:\n"
            + f"    desk: {{webhook: '{hook.url}', timeout_s: 60}}\n"
            + f"    pager: {{exec: {told}}}\n"
            + "    anna: {mail: anna@example.org}\n"
        )
        daemons.config = arbctl.config = settings
        running = {name: daemons.start(name, slots=1) for name in "ab"}
        wait_until(
            lambda: len(list(layout.notices.glob("*.log"))) == 3 if layout.notices.exists() else False,
            what="the logs of three targets",
        )
        submit(arbctl, tmp_path, "first")
        wait_until(lambda: len(hook.got) == 1 and len(post.letters) == 1, what="the first end to be told")
        hook.hold.clear()
        submit(arbctl, tmp_path, "second")
        wait_until(lambda: len(hook.got) == 2, what="the second end to be on its way")
        workers = json.loads(arbctl("notices", "--json")[1])["workers"]
        (sender,) = [worker["worker_id"] for worker in workers if worker["targets"]["desk"]["sends"]]
        os.kill(running[sender].pid, signal.SIGKILL)
        running[sender].wait()
        hook.hold.set()
        wait_until(
            lambda: {message["session_id"]: message["attempt"] for message in hook.got} == {"first": 1, "second": 2},
            what="another host to tell",
        )
        submit(arbctl, tmp_path, "third")
        wait_until(lambda: {message["session_id"] for message in hook.got} == {"first", "second", "third"})
        wait_until(lambda: len(post.letters) >= 3, what="the mails")
        wait_until(lambda: len((tmp_path / "heard").read_text().split()) >= 3, what="the program")
        daemons.stop()
        keys = [(message["key"], message["attempt"], message["may_be_repeated"]) for message in hook.got]
        assert len(set(keys)) == len(keys) == 4
        assert len({key for key, _, _ in keys}) == 3
        assert [repeat for _, attempt, repeat in keys if attempt > 1] == [True]
        assert set((tmp_path / "heard").read_text().split()) == {"first", "second", "third"}
        assert len({letter.partition("Message-ID: ")[2].splitlines()[0] for letter in post.letters}) == 3


def test_whom_nobody_can_tell_is_shown_where_one_looks_and_told_when_asked_again(
    arbctl: Arbctl, daemons: Daemons, layout: SpoolLayout, tmp_path: Path
) -> None:
    with webhook() as hook:
        pass
    settings = tmp_path / "telling.yaml"
    settings.write_text(
        daemons.config.read_text() + f"notify: {{targets: {{desk: {{webhook: '{hook.url}', attempts: 1}}}}}}\n"
    )
    daemons.config = arbctl.config = settings
    daemons.start("a", slots=1)
    wait_until(lambda: (layout.notices / "desk.log").exists(), what="the log of the target")
    submit(arbctl, tmp_path, "s")
    wait_until(lambda: "given up" in arbctl("notices")[1], what="the end of the attempts")
    wait_until(lambda: "desk cannot be told of sessions" in arbctl("doctor")[1], what="the doctor to know")
    for text in (arbctl("notices")[1], arbctl("doctor")[1], daemons.log()):
        assert "127.0.0.1" in text
        assert "secret-path" not in text
        assert "hidden" not in text
    assert arbctl("notices", "--test", "desk")[0] == 1
    assert arbctl("notices", "--test", "dekk")[0] == 3
    with webhook(hook.port) as back:
        code, out, _ = arbctl("notices", "--test", "desk")
        assert (code, [message["event"] for message in back.got]) == (0, ["test"])
        assert arbctl("notices", "--again", "desk")[1] == "desk: 1 notices are tried again\n"
        wait_until(lambda: [message["event"] for message in back.got] == ["test", "end"], what="the notice")
        wait_until(lambda: "sent" in arbctl("notices")[1], what="the word of it")
