"""compare, archive, restore, purge, logs, completion, manuals: what they do, and above all what they refuse."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from arbd.cli.__main__ import HOMES
from arbd.results.compaction import compact
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.ledger import FAILED
from tests.conftest import REPOSITORY, Arbctl
from tests.spool.sessions import exhaust, make_session, rows_of, write_rows


def finished(layout: SpoolLayout, name: str, value: float = 0.0, **changed: object) -> str:
    paths = make_session(layout, 20, name, **changed)
    write_rows(paths, "a", rows_of(1, 18, value=value, blocks=True), rows_of(19, 2, status=FAILED))
    exhaust(paths, 20, (18, 2, 0, 0))
    compact(Files(), paths)
    return name


def test_compare_puts_sessions_side_by_side_and_says_what_differs(arbctl: Arbctl, layout: SpoolLayout) -> None:
    finished(layout, "one")
    finished(layout, "two", value=5.0, fixed={"fee": 1.0})
    make_session(layout, 3, "empty")
    code, out, _ = arbctl("compare", "one", "two", "empty", "--json")
    assert code == 0
    document = json.loads(out)
    assert (document["metric"], document["direction"]) == ("value", "maximize")
    assert [s["best"] for s in document["sessions"]] == [18.0, 23.0, None]
    assert [s["median"] for s in document["sessions"]] == [9.5, 14.5, None]
    assert document["sessions"][1]["params"] == {"fee": 1.0, "x": 0.018, "kind": "up"}
    assert "two differs from one in its fixed parameters" in document["notices"]
    code, out, _ = arbctl("compare", "one", "two", "--ascending")
    assert "lowest is best" in out
    assert arbctl("compare", "one")[0] == 2
    assert "metrics are: value" in arbctl("compare", "one", "two", "--metric", "pnl")[2]
    assert arbctl("compare", "one", "nowhere")[0] == 3


def test_purge_shows_first_and_removes_only_what_the_compacted_results_hold(
    arbctl: Arbctl, layout: SpoolLayout
) -> None:
    paths = layout.session(finished(layout, "s"))
    before = arbctl("summary", "s", "--json")[1]
    code, out, _ = arbctl("purge", "s", "--segments")
    assert code == 0
    assert "nothing was removed" in out
    assert list(paths.segments.iterdir())
    assert json.loads(arbctl("purge", "s", "--segments", "--yes", "--json")[1])["removed"] is True
    assert list(paths.segments.iterdir()) == []
    assert arbctl("summary", "s", "--json")[1] == before


def test_purge_keeps_the_segments_of_results_that_cannot_be_read(arbctl: Arbctl, layout: SpoolLayout) -> None:
    paths = layout.session(finished(layout, "s"))
    data = bytearray(paths.results.read_bytes())
    data[200] ^= 1
    paths.results.write_bytes(bytes(data))
    code, _, err = arbctl("purge", "s", "--segments", "--yes")
    assert (code, "segments of session s are kept" in err) == (2, True)
    paths.results.unlink()
    assert "its segments are its only results" in arbctl("purge", "s", "--segments", "--yes")[2]
    assert list(paths.segments.iterdir())


def test_no_flag_of_purge_removes_results_and_claims_at_once(arbctl: Arbctl, layout: SpoolLayout) -> None:
    paths = layout.session(finished(layout, "s"))
    code, _, err = arbctl("purge", "s", "--claims", "--yes")
    assert (code, "has results" in err) == (2, True)
    assert arbctl("purge", "s")[0] == 2
    assert arbctl("purge", "s", "--results", "--yes")[0] == 0
    assert paths.ledger.exists()
    assert not paths.results.exists()
    assert "done" in arbctl("status", "s")[1]
    finished(layout, "t")
    assert arbctl("purge", "t", "--results", "--claims", "--yes")[0] == 0
    assert sorted(path.name for path in layout.sessions.iterdir()) == ["s"]


def test_purge_and_archive_leave_a_session_alone_that_is_not_over(
    arbctl: Arbctl, layout: SpoolLayout, tmp_path: Path
) -> None:
    make_session(layout, 3, "going")
    for command in (
        ("purge", "going", "--results", "--claims", "--yes"),
        ("archive", "going", "--output", tmp_path / "a.tar.gz"),
    ):
        code, _, err = arbctl(*command)
        assert (code, "this is for sessions that are over" in err) == (2, True)
    assert not (tmp_path / "a.tar.gz").exists()
    assert layout.session("going").ledger.exists()


@pytest.mark.parametrize("purged", [False, True])
def test_an_archived_session_comes_back_as_it_was(
    arbctl: Arbctl, layout: SpoolLayout, tmp_path: Path, purged: bool
) -> None:
    finished(layout, "s")
    exported = tmp_path / "before.msgpack", tmp_path / "after.msgpack"
    arbctl("export", "s", "--format", "msgpack", "--output", exported[0])
    if purged:
        assert arbctl("purge", "s", "--segments", "--yes")[0] == 0
    before = arbctl("summary", "s", "--json")[1]
    file = tmp_path / "s.tar.gz"
    code, out, _ = arbctl("archive", "s", "--output", file, "--json")
    assert code == 0
    # Return blocks stand in a segment, until it is purged.
    segments = [] if purged else ["segments/a-0000000000000001-0.1.seg"]
    whole = ["job.yaml", "ledger", "results.csv", "results.msgpack", *segments, "spec.msgpack"]
    assert sorted(json.loads(out)["files"]) == whole
    assert "exists already" in arbctl("restore", file)[2]
    assert arbctl("purge", "s", "--results", "--claims", "--yes")[0] == 0
    assert arbctl("status", "s")[0] == 3
    assert arbctl("restore", file) == (0, "s\n", "")
    assert arbctl("summary", "s", "--json")[1] == before
    arbctl("export", "s", "--format", "msgpack", "--output", exported[1])
    assert exported[0].read_bytes() == exported[1].read_bytes()
    assert [p.name for p in layout.sessions.iterdir()] == ["s"]
    assert [p.name for p in tmp_path.iterdir() if p.name.endswith(".tmp")] == []


@pytest.mark.parametrize(
    "name", ["../evil", "/etc/evil", "s/../../evil", "s/segments/../../../evil", ".s/ledger", "s/x.py", "s/segments/.x"]
)
def test_an_archive_with_a_foreign_name_is_refused_and_leaves_nothing(
    arbctl: Arbctl, layout: SpoolLayout, tmp_path: Path, name: str
) -> None:
    file = tmp_path / "bad.tar.gz"
    with tarfile.open(file, "w:gz") as tar:
        about = tarfile.TarInfo(name)
        about.size = 3
        tar.addfile(about, io.BytesIO(b"bad"))
    code, _, err = arbctl("restore", file)
    assert (code, "which no archived session has" in err) == (2, True)
    assert list(layout.sessions.iterdir()) == []


def test_an_archive_with_a_link_or_a_torn_one_is_refused(arbctl: Arbctl, layout: SpoolLayout, tmp_path: Path) -> None:
    file = tmp_path / "link.tar.gz"
    with tarfile.open(file, "w:gz") as tar:
        about = tarfile.TarInfo("s/ledger")
        about.type, about.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(about)
    assert "which no archived session has" in arbctl("restore", file)[2]
    finished(layout, "s")
    whole = tmp_path / "whole.tar.gz"
    arbctl("archive", "s", "--output", whole)
    arbctl("purge", "s", "--results", "--claims", "--yes")
    data = whole.read_bytes()
    for damaged in (data[:-400], data[:-1], *(_flipped(data, at) for at in range(0, len(data), 97))):
        whole.write_bytes(damaged)
        code, _, err = arbctl("restore", whole)
        assert code == 2, err
        assert list(layout.sessions.iterdir()) == []


def _flipped(data: bytes, at: int) -> bytes:
    # The first bytes of gzip hold a time and a name that nothing depends on.
    at = max(at, 64)
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def test_an_archive_that_lacks_recorded_results_or_has_holes_is_refused(
    arbctl: Arbctl, layout: SpoolLayout, tmp_path: Path
) -> None:
    finished(layout, "s")
    whole, less, holes = (tmp_path / name for name in ("whole.tar.gz", "less.tar.gz", "holes.tar.gz"))
    arbctl("archive", "s", "--output", whole)
    arbctl("purge", "s", "--results", "--claims", "--yes")
    with tarfile.open(whole) as old, tarfile.open(less, "w:gz") as new:
        for member in old:
            if not member.name.endswith(("results.msgpack", ".seg")):
                new.addfile(member, old.extractfile(member))
    assert "of 20 recorded iterations" in arbctl("restore", less)[2]
    with tarfile.open(holes, "w:gz", format=tarfile.GNU_FORMAT) as tar:
        about = tarfile.TarInfo("s/ledger")
        about.type, about.size = tarfile.GNUTYPE_SPARSE, 0
        tar.addfile(about)
    assert arbctl("restore", holes)[0] == 2
    assert list(layout.sessions.iterdir()) == []


def test_follow_shows_the_last_lines_of_the_session_first(
    arbctl: Arbctl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = [
        {"__CURSOR": f"c{number}", "MESSAGE": f"line {number}", "SESSION_ID": "one" if number % 2 else "two"}
        for number in range(9)
    ]
    (tmp_path / "all").write_text("".join(json.dumps(entry) + "\n" for entry in journal))
    program = tmp_path / "journalctl"
    program.write_text(
        f'#!/bin/sh\ncase "$*" in\n*--after-cursor=c7*) grep c8 {tmp_path}/all;;\n*--follow*) exit 9;;\n'
        f"*) cat {tmp_path}/all;;\nesac\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert arbctl("logs", "one", "-f", "-n", "2")[1] == "line 5\nline 7\n"
    assert arbctl("logs", "-n", "1", "--json")[1] == arbctl("logs", "two", "-n", "1", "--json")[1]
    program.write_text("#!/bin/sh\necho 'No journal files were opened due to insufficient permissions.' >&2\nexit 1\n")
    code, _, err = arbctl("logs")
    assert (code, "in group systemd-journal or adm" in err) == (3, True)


def test_every_shell_gets_its_completion_where_it_looks_for_it() -> None:
    command = f". bin/installed-files; installed_files {REPOSITORY} UNITS SHARE"
    told = subprocess.run(["bash", "-c", command], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    folders = ("bash-completion/completions/", "fish/vendor_completions.d/", "zsh/site-functions/")
    for file in (REPOSITORY / "etc/completion").iterdir():
        assert any(f"{file} SHARE/{folder}{file.name}\n" in told for folder in folders), file


def test_logs_are_those_of_the_session_and_worker_asked_for(arbctl: Arbctl, tmp_path: Path) -> None:
    log = tmp_path / "arbd.log"
    log.write_text(
        'time=1 level=info event="job accepted" worker=a session=one job="two words"\n'
        "time=2 level=info event=ended worker=b\n"
        '{"time": "3", "event": "claimed", "worker": "a", "session": "two"}\n'
        "a traceback\x1b[31m line\n"
    )
    assert arbctl("logs", "one", "--file", log)[1].startswith("time=1")
    assert len(arbctl("logs", "--worker", "a", "--file", log)[1].splitlines()) == 2
    assert len(arbctl("logs", "-n", "2", "--file", log)[1].splitlines()) == 2
    assert "\x1b" not in arbctl("logs", "--file", log)[1]
    assert json.loads(arbctl("logs", "two", "--file", log, "--json")[1])["events"][0]["worker"] == "a"
    code, out, err = arbctl("logs", "none", "--file", log)
    assert (code, out, "no session none" in err) == (3, "", True)
    assert arbctl("logs", "--file", tmp_path / "nowhere")[0] == 3


def test_the_shell_completes_commands_options_and_what_they_are_about(layout: SpoolLayout, tmp_path: Path) -> None:
    make_session(layout, 3, "kimchi")

    def complete(*words: str) -> list[str]:
        environment = os.environ | {"_ARBCTL_COMPLETE": "bash_complete", "COMP_WORDS": " ".join(words)}
        environment |= {"COMP_CWORD": str(len(words) - 1)}
        done = subprocess.run(
            [Path(sys.executable).parent / "arbctl"], env=environment, capture_output=True, text=True, check=True
        )
        return [line.partition(",")[2] for line in done.stdout.splitlines() if line]

    spool = str(layout.root)
    assert complete("arbctl", "su") == ["submit", "summary"]
    assert complete("arbctl", "--spool", spool, "pause", "ki") == ["kimchi"]
    assert complete("arbctl", "--spool", spool, "purge", "kimchi", "--se") == ["--segments"]
    assert complete("arbctl", "--spool", "/nowhere", "pause", "ki") == []
    write_rows(layout.session("kimchi"), "a", replace(rows_of(1, 3), metrics={"value": np.ones(3), "risk": np.ones(3)}))
    assert complete("arbctl", "--spool", spool, "summary", "kimchi", "--metric", "v") == ["value"]
    assert complete("arbctl", "--spool", spool, "summary", "kimchi", "--metric", "") == ["value", "risk"]
    assert complete("arbctl", "--spool", spool, "summary", "nowhere", "--metric", "") == []
    assert complete("arbctl", "--spool", spool, "replay", "kimchi", "") == ["best", "1"]
    (tmp_path / "job.yaml").write_text("tuning: {seed: 1, search_space: {edge: {type: float, bounds: [0, 1]}}}\n")
    job = str(tmp_path / "job.yaml")
    assert complete("arbctl", "validate", job, "--set", "tuning.s") == [
        "tuning.seed=", "tuning.search_space.edge.type=", "tuning.search_space.edge.bounds=",
    ]  # fmt: skip
    assert complete("arbctl", "validate", "nowhere.yaml", "--set", "t") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_those_in_the_repository(arbctl: Arbctl, shell: str) -> None:
    name = {"bash": "arbctl", "zsh": "_arbctl", "fish": "arbctl.fish"}[shell]
    assert arbctl("completion", shell)[1] == (REPOSITORY / "etc" / "completion" / name).read_text()


def test_every_command_has_a_manual_page(tmp_path: Path) -> None:
    command = [sys.executable, "docs/generate_manuals.py"]
    subprocess.run([*command, "--check"], check=True, cwd=REPOSITORY)
    subprocess.run([*command, tmp_path], check=True, cwd=REPOSITORY)
    pages = {path.name for path in (tmp_path / "man").iterdir()}
    assert pages == {
        "arbd.1",
        "arbd-compile.1",
        "arbd-run.1",
        "arbd-unit.1",
        "arbctl.1",
        *(f"arbctl-{name}.1" for name in HOMES),
    }
    text = (tmp_path / "man" / "arbctl-purge.1").read_text()
    assert ".nf\nExamples:\n  arbctl purge" in text.replace("\\-", "-")


def test_help_and_status_import_nothing_heavy(layout: SpoolLayout) -> None:
    heavy = ("numpy", "rich", "pydantic", "numba", "scipy", "duckdb", "filelock", "yaml", "secrets", "watchdog")
    code = (
        "import sys\nfrom arbd.cli.__main__ import call\n"
        f"for arguments in (['--help'], ['--spool', {str(layout.root)!r}, 'status']):\n"
        "    call(arguments)\n"
        f"    found = [name for name in {heavy!r} if name in sys.modules]\n"
        "    assert not found, (arguments, found)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
