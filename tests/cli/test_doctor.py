"""arbctl doctor: every kind of trouble that can be made here is found, with what to do."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from arbd.cli.doctor import filesystem, hosts, partners, service
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.liveness import Beat, take_liveness_lock, write_beat
from tests.conftest import Arbctl, Daemons, wait_until


def test_a_good_spool_with_a_live_worker_is_ok(arbctl: Arbctl, layout: SpoolLayout, daemons: Daemons) -> None:
    daemons.start("host-a", slots=1)
    wait_until(lambda: "host-a.beat" in Files().names(layout.workers))
    code, out, _ = arbctl("doctor", "--json")
    document = json.loads(out)
    verdicts = {finding["check"]: finding["verdict"] for finding in document["findings"]}
    expected = ("spool", "locks", "rename", "O_EXCL", "workers", "visibility", "clocks", "versions", "code and data")
    assert {name: verdicts.get(name) for name in expected} == dict.fromkeys(expected, "ok")
    assert (code, document["broken"]) == (0, 0)
    assert [path.name for path in layout.root.iterdir() if path.name.startswith(".")] == []


def test_what_is_no_spool_is_broken_and_exit_is_1(arbctl: Arbctl, tmp_path: Path) -> None:
    code, out, _ = arbctl("--spool", tmp_path / "nowhere", "doctor")
    assert code == 1
    assert out.startswith("broken   spool: the spool ")
    assert "mount the shared folder" in out


@pytest.mark.parametrize(
    ("line", "verdict"),
    [
        ("server:/x / nfs4 rw,hard,local_lock=none 0 0", "ok"),
        ("server:/x / nfs rw,hard,nolock,local_lock=all 0 0", "broken"),
        ("server:/x / nfs4 rw,soft,local_lock=none 0 0", "warning"),
        ("/dev/sda1 / ext4 ro 0 0", "broken"),
        ("//server/x / cifs rw 0 0", "warning"),
    ],
)
def test_mount_options_are_judged(tmp_path: Path, line: str, verdict: str) -> None:
    (tmp_path / "mounts").write_text(f"rootfs / ext4 rw 0 0\n{line}\nproc /proc proc rw 0 0\n")
    assert filesystem.mount(tmp_path, tmp_path / "mounts").verdict == verdict


def test_people_whom_this_host_does_not_know_are_told(arbctl: Arbctl, tmp_path: Path) -> None:
    (tmp_path / "people.yaml").write_text(
        "allowed_submitters: [root, '@root', '0', nobody-here]\n"
        "limits: {root: {slots: 1}, '@root': {slots: 1}, '4242424': {slots: 1}, '*': {slots: 1}, "
        "'nobody here.x': {slots: 1}, '@': {slots: 1}, '': {slots: 1}, \"\\u00e9\": {slots: 1}}\n"
    )
    found = json.loads(arbctl("--config", tmp_path / "people.yaml", "doctor", "--json")[1])["findings"]
    told = [finding["found"].partition(": ")[0] for finding in found if finding["check"] in ("submitters", "limits")]
    assert told == ["allowed_submitters", "limits.nobody here.x", "limits.@", "limits.", "limits.\u00e9"]
    assert all(finding["remedy"] for finding in found if finding["check"] in ("submitters", "limits"))


def test_a_spool_that_anybody_may_change_is_broken(layout: SpoolLayout) -> None:
    layout.root.chmod(0o777)
    assert filesystem.permissions(layout.root).verdict == "broken"
    layout.root.chmod(0o1777)
    assert filesystem.permissions(layout.root).verdict == "ok"


def test_hosts_that_differ_are_named(layout: SpoolLayout) -> None:
    files, held = Files(), []
    for name, version, wall_ns in (("a", "1", time.time_ns()), ("b", "2", time.time_ns() - 10**11)):
        held.append(take_liveness_lock(files, layout, name))
        about = {"beat_s": 0.2, "versions": {"arbd": version}, "wall_ns": wall_ns, "blocked": {"s": "other data"}}
        write_beat(files, layout, Beat(name, 1, 1, about))
    code = (
        "import sys, time\nfrom arbd.spool.files import Files\nfrom arbd.spool.layout import SpoolLayout\n"
        "from arbd.spool.liveness import Beat, write_beat\nfrom pathlib import Path\n"
        "layout = SpoolLayout(Path(sys.argv[1]))\n"
        "for i in range(2, 100):\n"
        "    about = {'beat_s': 0.2, 'versions': {'arbd': '2'}, 'wall_ns': time.time_ns() - 10**11, 'blocked': {'s': 'other data'}}\n"
        "    write_beat(Files(), layout, Beat('b', 1, i, about))\n"
        "    time.sleep(0.1)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(layout.root)]) as other:
        found = list(hosts.examine(layout, {"arbd": "1"}, ()))
        other.kill()
    told = {finding.check: finding for finding in found}
    assert told["heartbeats"].found.startswith("not a beat of a in")
    assert "b 100.0 s behind" in told["clocks"].found
    assert told["version of arbd"].found == "1 on a, this host; 2 on b"
    assert told["b"].found == "cannot evaluate s: other data"


def test_a_refused_job_and_an_unreadable_session_are_found(layout: SpoolLayout) -> None:
    (layout.rejected / "bad.yaml.error.txt").write_text("no")
    (layout.sessions / "empty").mkdir()
    (layout.incoming / "job.yaml").write_text("x")
    assert [finding.check for finding in hosts.waiting(Files(), layout, [])] == ["incoming", "rejected", "sessions"]


def test_the_service_is_judged_by_what_systemd_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in (
        ("systemctl", "LoadState=loaded\\nActiveState=failed\\nUnitFileState=enabled\\nNRestarts=3\\n"),
        ("systemd-analyze", "-> Overall exposure level for arbd.service: 8.2 EXPOSED\\n"),
    ):
        (tmp_path / name).write_text(f"#!/bin/sh\nprintf -- '{text}'\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    found = list(service.examine())
    assert [(f.check, f.verdict) for f in found] == [("unit", "broken"), ("hardening", "warning")]
    assert "3 restarts" in found[0].found
    assert "8.2 of 10" in found[1].found
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert [f.found for f in service.examine()] == ["no systemd here"]


def test_two_partners_prove_the_locks_between_them(layout: SpoolLayout) -> None:
    command = [sys.executable, "-m", "arbd.cli", "--spool", str(layout.root), "doctor", "--verify-fs", "--json"]
    command += ["--seconds", "1", "--patience", "30"]
    pair = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) for _ in range(2)]
    documents = [json.loads(process.communicate(timeout=60)[0]) for process in pair]
    for process, document in zip(pair, documents, strict=True):
        assert process.returncode == 0
        verdicts = {finding["check"]: finding["verdict"] for finding in document["findings"]}
        assert verdicts == {
            "partner": "warning",  # both ran on one host
            "locks across hosts": "ok",
            "reads across hosts": "ok",
            "appends across hosts": "ok",
        }
    assert [name for name in Files().names(layout.root / partners.FOLDER) if not name.startswith("lock")] == []


def test_without_a_partner_nothing_is_proved(arbctl: Arbctl) -> None:
    code, out, err = arbctl("doctor", "--verify-fs", "--patience", "1")
    assert (code, "none came within 1 s" in out) == (1, True)
    assert "waits for a partner" in err


def test_the_board_convicts_locks_that_do_not_hold() -> None:
    good = [("in", "a", 1), ("out", "a", 1), ("in", "b", 2), ("out", "b", 2)]
    assert [f.verdict for f in partners.judge(good, {"a": 1, "b": 1})] == ["ok"] * 3
    overlapping = [("in", "a", 1), ("in", "b", 1), ("out", "a", 1), ("out", "b", 1)]
    assert [f.verdict for f in partners.judge(overlapping, {"a": 1, "b": 1})] == ["broken", "broken", "ok"]
    lost = [("in", "a", 1), ("out", "a", 1), ("torn", "", 0)]
    assert [f.verdict for f in partners.judge(lost, {"a": 1, "b": 1})] == ["ok", "ok", "broken"]
