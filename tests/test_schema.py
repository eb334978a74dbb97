"""What another version wrote is told as such by every command, and nobody repairs, reruns, revokes or deletes it."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from arbd import __version__, schema
from arbd.spool.files import Files
from arbd.spool.frames import encode_frame
from arbd.spool.ledger import pack, switched
from tests.conftest import Arbctl
from tests.golden.places import copy_spool, names, put_home
from tests.golden.restamp import CHANGES, restamp, restamp_archive

GOLDEN = names()[-1]
# What nobody may say of a good record.
DAMAGE = ("damage", "corrupt", "delete", "purge", "not a ", "no whole record", "run again")


@dataclass(frozen=True)
class Foreign:
    """A kind of record in a session of the golden spool, and the commands that cannot do without it."""

    of: schema.Schema
    session: str
    file: str
    refused: tuple[tuple[str, ...], ...]
    frame: int = 0


READ = (
    ("summary", "{s}"),
    ("best", "{s}"),
    ("export", "{s}", "--format", "csv", "--output", "{o}"),
    ("replay", "{s}", "1"),
    ("report", "{s}", "--output", "{o}"),
    ("compare", "{s}", "grid"),
    ("archive", "{s}", "--output", "{o}"),
)
CHANGED = tuple((verb, "{s}") for verb in ("pause", "resume", "cancel", "retry"))
PURGED = (
    ("purge", "{s}", "--segments", "--yes"),
    ("purge", "{s}", "--results", "--yes"),
    ("purge", "{s}", "--results", "--claims", "--yes"),
)
KINDS = {
    "ledger": Foreign(schema.LEDGER, "paused", "ledger", (*READ, ("retry", "{s}"), *CHANGED, *PURGED)),
    "job": Foreign(schema.JOB, "cancelled", "spec.msgpack", READ),
    "segment": Foreign(schema.SEGMENT, "cancelled", "segments/*", tuple(c for c in READ if c[0] != "replay")),
    "results header": Foreign(schema.RESULTS, "tpe", "results.msgpack", (*READ, PURGED[0])),
    "results index": Foreign(schema.RESULTS, "tpe", "results.msgpack", (*READ, PURGED[0]), frame=-2),
}


@pytest.fixture
def arbctl(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Arbctl:
    """On a copy of the golden spool."""
    home = put_home(GOLDEN)
    (tmp_path / "arbd.yaml").write_text(
        f"allow: ['*']\nobjective_paths: [{home / 'objectives'}]\ncache_dir: {tmp_path / 'cache'}\n"
        "settle_s: 0.1\nscan_s: 0.1\nbeat_s: 0.2\nlease_s: 1\nchunk_target_s: 0.2\n"
    )
    return Arbctl(capsys, copy_spool(GOLDEN, tmp_path / "spool"), tmp_path / "arbd.yaml")


def files_of(arbctl: Arbctl, session: str) -> dict[str, str]:
    folder = arbctl.spool / "sessions" / session
    # Locks are taken by whoever looks.
    found = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix != ".lock"]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def make_foreign(arbctl: Arbctl, kind: Foreign, change: str) -> None:
    for path in (arbctl.spool / "sessions" / kind.session).glob(kind.file):
        restamp(path, CHANGES[change], key=kind.of.key, frame=kind.frame)


def assert_told(text: str, of: schema.Schema, change: str) -> None:
    """It says who wrote it, what this one reads and what to do; it says nothing of damage."""
    assert f"this is arbd {__version__}, which reads {of.what} schema {of.version}: " in text
    assert ("read it with the version that wrote it" if change == "zero" else "upgrade arbd on this host") in text
    assert_not_damaged(text)


def assert_not_damaged(text: str) -> None:
    assert [word for word in DAMAGE if word in text.lower()] == []


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", KINDS)
def test_a_record_of_another_version_is_refused_by_every_command_that_needs_it(
    name: str, change: str, arbctl: Arbctl, tmp_path: Path
) -> None:
    kind = KINDS[name]
    make_foreign(arbctl, kind, change)
    before = files_of(arbctl, kind.session)
    for command in kind.refused:
        code, out, err = arbctl(*(part.format(s=kind.session, o=tmp_path / "out") for part in command))
        assert (command, code, out) == (command, 4, "")
        assert_told(err, kind.of, change)
    assert files_of(arbctl, kind.session) == before


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", KINDS)
def test_listings_and_the_doctor_go_on_and_say_what_is_of_another_version(
    name: str, change: str, arbctl: Arbctl
) -> None:
    kind = KINDS[name]
    make_foreign(arbctl, kind, change)
    before = files_of(arbctl, kind.session)
    code, out, err = arbctl("list", "--json")
    listed = {found["session_id"]: found for found in json.loads(out)["sessions"]}
    assert (code, err) == (0, "")
    assert len(listed) == len(list((arbctl.spool / "sessions").iterdir()))
    code, out, _ = arbctl("status", kind.session, "--json")
    told = json.loads(out)
    if name == "ledger":
        assert (listed[kind.session]["state"], told["state"]) == ("blocked", "blocked")
        assert_told(listed[kind.session]["reason"], kind.of, change)
        assert_told(told["reason"], kind.of, change)
    assert code == 0
    for command in (("list",), ("status",), ("status", kind.session), ("watch", "--once"), ("workers",)):
        code, out, err = arbctl(*command)
        assert code == 0, err
        assert_not_damaged(out + err)
    findings = json.loads(arbctl("doctor", "--json")[1])["findings"]
    (found,) = [finding for finding in findings if f"{kind.session}: " in finding["found"]] or [None]
    if found is not None:
        assert_told(found["found"] + found["remedy"], kind.of, change)
    # Over, and never read by the doctor: only its segments are another version's.
    assert (found is None) == (name == "segment")
    assert files_of(arbctl, kind.session) == before


@pytest.mark.parametrize("change", CHANGES)
def test_a_generation_of_another_version_keeps_no_row_from_being_summarised(change: str, arbctl: Arbctl) -> None:
    for path in (arbctl.spool / "sessions" / "paused-tpe" / "generations").iterdir():
        restamp(path, CHANGES[change])
    code, out, _ = arbctl("summary", "paused-tpe", "--json")
    (notice,) = json.loads(out)["notices"]
    assert code == 0
    assert_told(notice, schema.GENERATION, change)
    assert_told(json.loads(arbctl("status", "paused-tpe", "--json")[1])["reason"], schema.GENERATION, change)


@pytest.mark.parametrize("change", CHANGES)
def test_a_worker_whose_heartbeat_is_of_another_version_is_shown_and_not_judged(change: str, arbctl: Arbctl) -> None:
    restamp(arbctl.spool / "workers" / "golden-killed.beat", CHANGES[change])
    code, out, _ = arbctl("workers", "--json")
    (found,) = [worker for worker in json.loads(out)["workers"] if worker["worker_id"] == "golden-killed"]
    assert (code, found["state"], found["alive"]) == (0, "unread", False)
    assert_told(found["trouble"], schema.HEARTBEAT, change)
    assert_told(arbctl("workers")[1], schema.HEARTBEAT, change)
    lock = Files().try_lock(arbctl.spool / "workers" / "golden-killed.lock")
    assert lock is not None
    try:
        for command in (("archive", "tpe", "--output", "x"), ("purge", "tpe", "--results", "--claims", "--yes")):
            code, _, err = arbctl(*command)
            assert code == 4
            assert_told(err, schema.HEARTBEAT, change)
        findings = json.loads(arbctl("doctor", "--json")[1])["findings"]
        (told,) = [finding["found"] for finding in findings if finding["check"] == "golden-killed"]
        assert_told(told, schema.HEARTBEAT, change)
    finally:
        lock.release()


@pytest.mark.parametrize("change", CHANGES)
def test_an_archive_of_another_version_is_not_restored(change: str, arbctl: Arbctl, tmp_path: Path) -> None:
    archive = tmp_path / "tpe.tar.gz"
    assert arbctl("archive", "tpe", "--output", archive)[0] == 0
    shutil.rmtree(arbctl.spool / "sessions" / "tpe")
    restamp_archive(archive, CHANGES[change])
    code, out, err = arbctl("restore", archive)
    if change == "missing":
        # As the first version wrote them.
        assert (code, err) == (0, "")
        return
    assert (code, out) == (4, "")
    assert_told(err, schema.ARCHIVE, change)
    assert not (arbctl.spool / "sessions" / "tpe").exists()


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", ["ledger", "job", "segment", "results header", "results index"])
def test_a_record_of_another_version_in_an_archive_is_told_with_the_archive(
    name: str, change: str, arbctl: Arbctl, tmp_path: Path
) -> None:
    kind, session = KINDS[name], "tpe" if name.startswith("results") else "cancelled"
    archive, folder = tmp_path / "a.tar.gz", arbctl.spool / "sessions" / session
    assert arbctl("archive", session, "--output", archive)[0] == 0
    unpacked = tmp_path / "unpacked"
    unpacked.mkdir()
    subprocess.run(["tar", "-xzf", archive, "-C", unpacked], check=True)
    for path in (unpacked / session).glob(kind.file):
        restamp(path, CHANGES[change], key=kind.of.key, frame=kind.frame)
    with tarfile.open(archive, "w:gz") as tar:
        for path in sorted((unpacked / session).rglob("*")):
            if path.is_file():
                tar.add(path, f"{session}/{path.relative_to(unpacked / session)}")
    shutil.rmtree(folder)
    before = {path.name for path in folder.parent.iterdir()}
    code, out, err = arbctl("restore", archive)
    assert (code, out) == (4, "")
    assert str(archive) in err
    assert_told(err, kind.of, change)
    assert {path.name for path in folder.parent.iterdir()} == before


@pytest.mark.parametrize("change", CHANGES)
def test_a_bookmark_of_another_version_costs_a_reader_nothing_but_time(
    change: str, arbctl: Arbctl, tmp_path: Path
) -> None:
    records = [encode_frame(pack(switched(state))) for state in ("running", "paused")]
    with (arbctl.spool / "sessions" / "paused" / "ledger").open("ab") as ledger:
        ledger.write(b"".join(records) * 8_000)
    first = arbctl("status", "paused", "--json")
    (bookmark,) = (tmp_path / "cache" / "ledgers").iterdir()
    restamp(bookmark, CHANGES[change])
    foreign = bookmark.read_bytes()
    assert arbctl("status", "paused", "--json") == first
    assert (first[0], first[2], json.loads(first[1])["state"]) == (0, "", "paused")
    assert bookmark.read_bytes() != foreign
