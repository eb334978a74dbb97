"""One damaged byte, wherever it is: the right answer or a refusal that says where and what to do; and `arbctl repair`.

Sessions are those of the golden spools. ARBD_TEST_DAMAGE=full tries every place of the sample with every command.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack
import pytest

from arbd import schema
from arbd.spool.frames import HEADER, Frame, encode_frame, payloads, scan_frames
from tests.conftest import Arbctl
from tests.golden.places import SPOOL, copy_spool, names, put_home

FULL = os.environ.get("ARBD_TEST_DAMAGE") == "full"
GOLDEN = names()[0]
# With segments and without, an early end, several slots, a retry, odd statuses, and one that was cancelled.
SESSIONS = ("limits", "stopped", "odd-ends", "cmaes", "cancelled", "grid")
KINDS = ("spec.msgpack", "ledger", "results.msgpack")
COMMANDS = ("status", "list", "summary", "best", "export")


@dataclass
class Bench:
    """A spool with copies of golden sessions, and what is said of them while they are whole."""

    arbctl: Arbctl
    golden: Path
    folder: Path

    def put(self, session: str) -> Path:
        """The session as it was written."""
        target = self.arbctl.spool / "sessions" / session
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(self.golden / "sessions" / session, target)
        return target

    def say(self, command: str, session: str) -> tuple[int, Any, str]:
        """Exit code, what the command says, and its errors."""
        if command == "export":
            output = self.folder / "rows.msgpack"
            output.unlink(missing_ok=True)
            code, _, err = self.arbctl("export", session, "--format", "msgpack", "--output", output)
            said = None
            if code == 0:
                with output.open("rb") as file:
                    said = list(msgpack.Unpacker(file, strict_map_key=False))
            return code, repr(said), err
        arguments = {"list": ["list"], "best": ["best", session, "--format", "json"]}.get(command, [command, session])
        code, out, err = self.arbctl(*arguments, "--json")
        return code, _settled(json.loads(out), session) if code == 0 else None, err


def _settled(said: Any, session: str) -> Any:
    """Without what is of the moment, or of the host that resolves the job; of a list, the one session."""
    if isinstance(said, dict) and "sessions" in said and isinstance(said["sessions"], list):
        found = [s for s in said["sessions"] if isinstance(s, dict) and s.get("session_id") == session]
        said = found[0] if found else {**said, "errors": said.get("errors")}
    if isinstance(said, dict):
        said = {key: value for key, value in said.items() if key not in ("rate_per_s", "eta_s", "notices", "code")}
    return repr(said)


def _without_ends(said: str) -> str:
    return re.sub(r"'ended': '[^']*'", "'ended': ...", said)


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    put_home(GOLDEN)
    return copy_spool(GOLDEN, tmp_path_factory.mktemp("golden") / SPOOL)


@pytest.fixture
def bench(golden: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Bench:
    home = put_home(GOLDEN)
    config = tmp_path / "arbd.yaml"
    config.write_text(
        f"allow: ['*']\nobjective_paths: [{home / 'objectives'}]\ndata_dirs: [{home}]\ncache_dir: {tmp_path / 'cache'}\n"
    )
    spool = tmp_path / "spool"
    for part in ("incoming/.accepting", "sessions", "rejected", "workers"):
        (spool / part).mkdir(parents=True)
    return Bench(Arbctl(capsys, spool, config), golden, tmp_path)


def places(data: bytes, seed: str) -> Iterator[tuple[str, int]]:
    """A byte of each class: length, checksum and payload of the first, a middle and the last two frames; and any."""
    rng = random.Random(seed)
    frames: tuple[Frame, ...] = scan_frames(data).frames
    for name, frame in {"first": frames[0], "middle": frames[len(frames) // 2], "index": frames[-2 if len(frames) > 1 else 0],
                        "last": frames[-1]}.items():  # fmt: skip
        yield f"{name}-length", frame.offset + rng.randrange(4)
        yield f"{name}-checksum", frame.offset + 4 + rng.randrange(4)
        yield f"{name}-payload", rng.randrange(frame.offset + HEADER.size, frame.end)
    for number in range(12 if FULL else 2):
        yield f"any-{number}", rng.randrange(len(data))


def damage(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << random.Random(at).randrange(8)
    path.write_bytes(data)


def _files(kind: str) -> list[str]:
    return [s for s in SESSIONS if kind != "results.msgpack" or s != "cancelled"]


CASES = [(kind, session) for kind in KINDS for session in _files(kind)]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "session"), CASES)
def test_a_damaged_byte_never_gives_a_wrong_answer_and_is_repaired(kind: str, session: str, bench: Bench) -> None:
    folder = bench.put(session)
    right = {command: bench.say(command, session) for command in COMMANDS}
    has_segments = any((folder / "segments").glob("*.seg")) if (folder / "segments").is_dir() else False
    rng = random.Random(f"{kind} {session}")
    frames = scan_frames((folder / kind).read_bytes()).frames
    found = list(places((folder / kind).read_bytes(), f"{kind} {session}"))
    for name, at in found if FULL else rng.sample(found, 6):
        folder = bench.put(session)
        damage(folder / kind, at)
        place = f"{kind} of {session}, {name}, byte {at}"
        for command in COMMANDS:
            code, said, err = bench.say(command, session)
            told = "arbctl repair" in err and str(folder / kind) in err and "byte" in err
            assert told or (code, said) == (0, right[command][1]), (place, command, code, said, err)
            # Notes may stand beside an answer that is short in what they say; rows are never.
            if code == 0 and command in ("best", "export") and session != "cancelled":
                assert said == right[command][1], (place, command)
        check = bench.arbctl("repair", session, "--check")
        assert check[0] == 1 and f"damaged: {folder / kind}, byte" in check[1], (place, check)
        before = (folder / kind).read_bytes()
        dry = bench.arbctl("repair", session, "--dry-run")
        assert (folder / kind).read_bytes() == before
        code, out, err = bench.arbctl("repair", session)
        if kind == "results.msgpack" and not has_segments:
            assert code == 1 and "`arbctl restore` an archive" in out, (place, out, err)
            assert (folder / kind).read_bytes() == before
            continue
        assert code == 0 and f"made anew {folder / kind}" in out, (place, out, err)
        assert f"would make anew {folder / kind}" in dry[1], (place, dry)
        kept = [path.read_bytes() for path in folder.glob(".damaged-*")]
        assert kept == [before], place
        assert bench.arbctl("repair", session)[1].strip() == f"{session}: nothing is damaged"
        hit = next(frame for frame in frames if at < frame.end)
        if kind == "ledger" and msgpack.unpackb(hit.payload, strict_map_key=False)["k"] == "state":
            # Nothing else says that somebody cancelled it.
            assert "if it was cancelled or paused last, do so again" in out
            continue
        for command in COMMANDS:
            code, said, err = bench.say(command, session)
            expected = right[command][1]
            if kind == "ledger":
                # Of work whose record was lost, rows tell when it was done, and not when that was written down.
                said, expected = _without_ends(said), _without_ends(expected)
            assert (code, err) == (0, "") and said == expected, (place, command, code, said, err)


@pytest.mark.slow
@pytest.mark.parametrize("session", ["limits", "stopped", "cancelled"])
def test_a_damaged_byte_of_a_segment_loses_no_row_that_results_hold_and_no_other_in_silence(
    session: str, bench: Bench
) -> None:
    folder = bench.put(session)
    right = {command: bench.say(command, session) for command in COMMANDS}
    segment = next(iter(sorted((folder / "segments").glob("*.seg"))))
    found = list(places(segment.read_bytes(), session))
    for name, at in found if FULL else random.Random(session).sample(found, 4):
        segment = bench.put(session) / "segments" / segment.name
        damage(segment, at)
        for command in COMMANDS:
            code, said, err = bench.say(command, session)
            same = (code, said) == (0, right[command][1])
            assert same or (session == "cancelled" and "arbctl repair" in err), (name, at, command, said, err)
        code, out, _ = bench.arbctl("repair", session)
        assert code == 1 and f"stays as it is: {segment}, byte" in out
        assert ("results.msgpack holds its rows" in out) == (session != "cancelled")


@pytest.mark.parametrize("session", ["limits", "cancelled"])
def test_the_doctor_finds_damage_before_a_person_does_and_advises_no_removal(session: str, bench: Bench) -> None:
    folder = bench.put(session)
    findings = json.loads(bench.arbctl("doctor", "--scrub", "--json")[1])["findings"]
    assert [f["verdict"] for f in findings if f["check"] in ("damage", "sessions")] == ["ok"]
    for file in [folder / "spec.msgpack", folder / "ledger", *sorted((folder / "segments").iterdir())[:1]]:
        whole = file.read_bytes()
        damage(file, HEADER.size + 1)
        findings = json.loads(bench.arbctl("doctor", "--scrub", "--json")[1])["findings"]
        (found,) = (f for f in findings if f["check"] == "damage")
        assert f"{file}, byte 0" in found["found"]
        assert all(f"arbctl repair {session}" in f["remedy"] for f in findings if f["check"] in ("damage", "sessions"))
        assert "purge" not in json.dumps(findings)
        file.write_bytes(whole)


def test_what_another_version_wrote_is_no_damage_and_is_not_repaired(bench: Bench) -> None:
    folder = bench.put("limits")
    record = msgpack.unpackb(next(payloads((folder / "spec.msgpack").read_bytes())), strict_map_key=False)
    newer = encode_frame(msgpack.packb({**record, schema.JOB.key: schema.JOB.version + 1}))
    (folder / "spec.msgpack").write_bytes(newer)
    for arguments in (["--check"], ["--dry-run"], []):
        code, _, err = bench.arbctl("repair", "limits", *arguments)
        assert code == 4 and "nothing is wrong with the file" in err
    assert (folder / "spec.msgpack").read_bytes() == newer
    findings = json.loads(bench.arbctl("doctor", "--scrub", "--json")[1])["findings"]
    assert [f for f in findings if f["check"] == "damage" and f["verdict"] != "ok"] == []


@pytest.mark.parametrize(
    ("old", "new"), [(r"seed: \d+", "seed: 987654"), (r"max_iterations: \d+", "max_iterations: 3")]
)
def test_a_job_that_the_rows_are_not_of_is_not_put_in_the_place_of_theirs(old: str, new: str, bench: Bench) -> None:
    folder = bench.put("limits")
    damage(folder / "spec.msgpack", 20)
    before = (folder / "spec.msgpack").read_bytes()
    job, changes = re.subn(old, new, (folder / "job.yaml").read_text())
    assert changes == 1
    (folder / "job.yaml").write_text(job)
    code, out, _ = bench.arbctl("repair", "limits")
    assert code == 1 and "the job cannot be resolved again on this host" in out
    assert (folder / "spec.msgpack").read_bytes() == before
