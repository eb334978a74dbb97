"""The 25 hostile cases of docs/threat-model.md: each is refused, and told by the rule that refuses it."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import re
import signal
import socket
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest

from arbd.daemon.host.config import Config
from arbd.daemon.host.logs import key_values
from arbd.daemon.side.intake_process import job_resolver
from arbd.daemon.slots.protocol import SlotSetup
from arbd.errors import CorruptionError, ObjectiveError, SpoolError, UnsafePathError, UsageError
from arbd.job.policy import ObjectivePolicy
from arbd.job.spec import ObjectiveSpec
from arbd.job.stored import read_spec
from arbd.objective.load import load_evaluator
from arbd.objective.protocol import Trial
from arbd.results import column_bytes
from arbd.results.columns import RowBatch, RowRules
from arbd.results.compaction import compact
from arbd.results.csv_writer import csv_lines
from arbd.results.merge import Merge
from arbd.results.records import MAX_METRICS
from arbd.results.store_reader import read_results
from arbd.spool.arrivals import SUBMITTED_SUFFIX
from arbd.spool.confined import spool_files
from arbd.spool.files import Files
from arbd.spool.frames import HEADER, encode_frame
from arbd.spool.intake import Intake
from arbd.spool.job_file import Submitters
from arbd.spool.layout import SpoolLayout
from arbd.spool.liveness import Beat, Observer, read_beats, write_beat
from arbd.spool.outcomes import Accepted, Rejected
from arbd.spool.queue import SessionQueue
from arbd.spool.sessions import session_ids
from arbd.spool.system import RealSystem, SystemClock
from arbd.terminal_text import escape_control_chars
from tests.conftest import REPOSITORY, Arbctl, wait_until
from tests.spool.hostile_results import put, with_column, with_index
from tests.spool.sessions import exhaust, make_session, rows_of, spec_of, write_rows

TUNING = "tuning: {method: random, max_iterations: 5, search_space: {x: {type: float, bounds: [0, 1]}}}\n"
GOOD = "objective: {python: 'samples:quick'}\n" + TUNING


class Gate:
    """The way of a job file into a spool: the real intake with the real rules of a daemon."""

    def __init__(self, layout: SpoolLayout, home: Path) -> None:
        self.layout = layout
        self.home = home
        self.config = Config(
            spool=layout.root, allow=("paper", "python:samples:*"), data_dirs=(home / "data",),
            objective_paths=(home / "objectives",), cache_dir=home / "cache",
        )  # fmt: skip
        (home / "data").mkdir()

    def intake(self, system: RealSystem | None = None, **changed: Any) -> Intake:
        submitters = Submitters.of(changed.pop("submitters", ()))
        files = Files(system) if system is not None else self.layout.files()
        resolve = job_resolver(replace(self.config, **changed))
        return Intake(files, self.layout, SystemClock(), resolve, patience_s=0.0, submitters=submitters)

    def reason(self, name: str = "job", **changed: Any) -> str:
        """Why what was dropped under that name is refused, as it stands in rejected/ too."""
        (outcome,) = self.intake(**changed).scan()
        assert isinstance(outcome, Rejected), outcome
        assert session_ids(Files(), self.layout) == []
        told = [path.read_text() for path in self.layout.rejected.glob("*.error.txt")]
        assert f"{outcome.reason}\n" in told
        return outcome.reason

    def drop(self, text: str | bytes, name: str = f"job{SUBMITTED_SUFFIX}") -> Path:
        path = self.layout.incoming / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def refuse(self, text: str | bytes, **changed: Any) -> str:
        self.drop(text)
        return self.reason(**changed)


@pytest.fixture
def gate(layout: SpoolLayout, tmp_path: Path) -> Gate:
    return Gate(layout, tmp_path)


def test_a_good_job_is_taken_up(gate: Gate) -> None:
    gate.drop(GOOD)
    (outcome,) = gate.intake().scan()
    assert isinstance(outcome, Accepted)


# job files


def test_case_01_a_file_larger_than_a_job_is(gate: Gate) -> None:
    assert "larger than 1024 KiB" in gate.refuse(GOOD + "#" * 1024 * 1024)


def test_case_02_bombs_of_depth_and_of_aliases(gate: Gate) -> None:
    assert "nested deeper than 32 levels" in gate.refuse("[" * 500 + "]" * 500)
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10))
    assert "more than 40,000 values once its aliases are expanded" in gate.refuse(bomb)
    assert "an alias that contains itself" in gate.refuse("a: &a [*a]\n")


def test_case_03_names_that_stand_twice(gate: Gate) -> None:
    assert "line 3: objective: stands twice, first in line 1" in gate.refuse(GOOD + "objective: paper\n")


def test_case_04_tags_that_make_objects(gate: Gate) -> None:
    reason = gate.refuse("objective: !!python/object/apply:os.system ['touch /tmp/owned']\n" + TUNING)
    assert "the tag 'tag:yaml.org,2002:python/object/apply:os.system' is not allowed here" in reason


def test_case_05_numbers_and_texts_that_break_what_reads_them(gate: Gate) -> None:
    assert "an integer of 5000 digits" in gate.refuse(GOOD + f"fixed: {{k: {'9' * 5000}}}\n")
    assert "control character U+001B" in gate.refuse(GOOD + 'metric: "\\e[2J"\n')
    assert "invalid Unicode character escape" in gate.refuse(GOOD + 'metric: "\\uD800"\n')
    assert "not UTF-8 text" in gate.refuse(GOOD.encode() + b"metric: \xff\n")
    nan = gate.refuse("objective: {python: 'samples:quick'}\n" + TUNING.replace("[0, 1]", "[.nan, .inf]"))
    assert "must be finite" in nan


def test_case_06_names_that_lead_out_of_the_spool(gate: Gate, tmp_path: Path) -> None:
    for name in ("../../outside", "/etc", "..", "a/b"):
        assert "is not usable: 1 to 64 letters" in gate.refuse(GOOD + f"session_id: '{name}'\n")
    # Somebody who may write there names the session himself.
    (gate.layout.accepting / "..,job.yaml").write_text(GOOD)
    assert "session id '..' is not usable" in gate.reason()
    (gate.layout.accepting / "x,..").write_text(GOOD)
    assert "job files end in .yaml" in gate.reason()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "spool"]


def test_case_07_links(gate: Gate, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(GOOD)
    (gate.layout.incoming / f"job{SUBMITTED_SUFFIX}").symlink_to(tmp_path / "mine.yaml")
    assert "not a regular file; links, pipes, devices and folders are not taken up" in gate.reason()
    assert (tmp_path / "mine.yaml").read_text() == GOOD


def test_case_08_pipes_sockets_devices_and_folders(gate: Gate) -> None:
    place = gate.layout.incoming / f"job{SUBMITTED_SUFFIX}"
    os.mkfifo(place)
    assert "not a regular file" in gate.reason()
    place.mkdir()
    assert "not a regular file" in gate.reason()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(place))
        assert "not a regular file" in gate.reason()
    if os.geteuid() == 0:
        try:
            os.mknod(place, 0o600 | 0o020000, os.makedev(1, 5))
        except PermissionError:
            return
        assert "not a regular file" in gate.reason()


def test_case_09_hard_links(gate: Gate, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(GOOD)
    (gate.layout.incoming / f"job{SUBMITTED_SUFFIX}").hardlink_to(tmp_path / "mine.yaml")
    assert "has 2 names (hard links); copy it into incoming/ instead" in gate.reason()


def test_case_10_another_file_put_in_place_between_the_look_and_the_reading(gate: Gate, tmp_path: Path) -> None:
    (tmp_path / "secret.yaml").write_text(GOOD)
    gate.drop(GOOD)

    class Swapped(RealSystem):
        """Whenever a job file is about to be opened, it becomes a link."""

        def open(self, path: Path, flags: int, mode: int = 0o664) -> int:
            if path.name.endswith(SUBMITTED_SUFFIX) and not path.is_symlink():
                path.unlink()
                path.symlink_to(tmp_path / "secret.yaml")
            return super().open(path, flags, mode)

    (outcome,) = gate.intake(Swapped()).scan()
    assert isinstance(outcome, Rejected)
    assert "not a regular file" in outcome.reason
    assert session_ids(Files(), gate.layout) == []


def test_case_11_names_of_files_that_cannot_be_shown_or_moved(gate: Gate) -> None:
    for name in (b"a" * 230 + b".yaml", b"a\nERROR fake=line.yaml", b"\xff\xfe.yaml", b"\x1b[2J.yaml"):
        path = gate.layout.incoming / os.fsdecode(name)
        path.write_text(GOOD)
        intake = gate.intake()
        intake.settle_s = 0.0
        intake.scan()
        (outcome,) = intake.scan()
        assert isinstance(outcome, Rejected)
        assert "names of job files have at most 120 characters, all of which show" in outcome.reason
        assert outcome.name.isprintable()
        assert not path.exists()
    assert all(path.name.isprintable() for path in gate.layout.rejected.iterdir())


def test_case_12_a_submitter_who_is_not_on_the_list(gate: Gate) -> None:
    me = os.geteuid()
    assert f"({me}) may not submit jobs here (allowed: 4242, @4243)" in gate.refuse(GOOD, submitters=("4242", "@4243"))
    gate.drop(GOOD)
    (outcome,) = gate.intake(submitters=(str(me),)).scan()
    assert isinstance(outcome, Accepted)
    assert Submitters.of([f"@{os.getegid()}"]).refusal(me) is None
    with pytest.raises(UsageError, match="this host knows no user 'no-such-user'"):
        Submitters.of(["no-such-user"])


def test_case_13_objectives_that_are_not_allowed(gate: Gate, tmp_path: Path) -> None:
    for objective in ("{python: 'os:system'}", "{command: [/bin/sh, -c, 'touch /tmp/owned']}"):
        assert "is not allowed on this host" in gate.refuse(f"objective: {objective}\n{TUNING}")
    allowed = tmp_path / "programs"
    allowed.mkdir()
    (allowed / "link").symlink_to("/bin/sh")
    for program in (f"{allowed}/../../../../../../../../../bin/sh", f"{allowed}/link"):
        assert Path(program).exists()
        reason = gate.refuse(f"objective: {{command: [{program}]}}\n{TUNING}", allow=(f"command:{allowed}/*",))
        assert "is not allowed on this host" in reason
    (allowed / "real").write_text("#!/bin/sh\n")
    (allowed / "real").chmod(0o755)
    policy = ObjectivePolicy((f"command:{allowed}/*",))
    assert policy.check(ObjectiveSpec("command", (f"{allowed}/real",))) is None


def test_case_14_data_from_elsewhere(gate: Gate, tmp_path: Path) -> None:
    (gate.home / "data" / "link.csv").symlink_to("/etc/passwd")
    for name in ("/etc/passwd", "../../../../../../../../etc/passwd", "link.csv"):
        reason = gate.refuse(f"data: ['{name}']\n" + TUNING.replace("x:", "min_spread_pct:"))
        assert "is not below the folders that this host reads data from" in reason
        assert "root:" not in reason
    private = tmp_path / "private.csv"
    private.write_text("root:secret\n")
    private.chmod(0o600)
    if os.geteuid() == 0:
        reason = gate.refuse(f"data: ['{private}']\n" + TUNING.replace("x:", "min_spread_pct:"), data_dirs=())
        assert "cannot be read by every user of this host, and `data_dirs`" in reason
    with tempfile.TemporaryDirectory() as public:
        # What counts is the whole way: the folders of tests are private.
        private.chmod(0o644)
        if os.geteuid() == 0:
            assert "cannot be read by every user" in str(ObjectivePolicy(data_dirs=()).check_data(private))
        Path(public).chmod(0o755)
        shown = Path(public) / "q.csv"
        shown.write_text("root:secret\n")
        shown.chmod(0o644)
        assert ObjectivePolicy(data_dirs=()).check_data(shown) is None
    scenario = (
        f"tuning: {{method: grid, scenarios: [{tmp_path}/s.yaml], search_space: {{min_spread_pct: {{type: bool}}}}}}\n"
    )
    assert "is not below the folders" in gate.refuse(scenario)
    table = tmp_path / "results.csv"
    table.write_text("session_id,worker_id,iteration,status,root:secret\n")
    (gate.home / "data" / "link2.csv").symlink_to(table)
    for name in (table, tmp_path / "missing.csv", "../results.csv", "link2.csv"):
        reason = gate.refuse(GOOD.replace("method: random", f"method: tpe, start_from: '{name}'"))
        assert "tuning.start_from: " in reason
        assert "is not below the folders that this host reads data from" in reason
        assert "`data_dirs` in the daemon's settings" in reason
        assert "root:" not in reason


@pytest.mark.parametrize(
    ("tuning", "message"),
    [
        ("{method: grid, grid_points: 1000000, search_space: {%s}}" % ", ".join(f"x{i}: {{type: float, bounds: [0, 1]}}" for i in range(9)),
         "points over all dimensions"),
        ("{method: random, max_iterations: 5, search_space: {x: {type: float, bounds: [0, 1], step: 1.0e-300}}}", "more than 2^53 values"),
        ("{method: random, max_iterations: 5, search_space: {x: {type: float, bounds: [-1.0e+308, 1.0e+308]}}}", "too wide to search"),
        ("{method: random, max_iterations: 5, search_space: {x: {type: int, bounds: [0, 9223372036854775807]}}}", "from -2^53 to 2^53"),
        ("{method: random, max_iterations: 5, search_space: {x: {type: choice, values: [%s]}}}" % ", ".join(map(str, range(10_001))),
         "10,001 values; the maximum is 10,000"),
        ("{method: random, max_iterations: 5, search_space: {%s}}" % ", ".join(f"x{i}: {{type: bool}}" for i in range(257)),
         "257 parameters; the maximum is 256"),
        ("{method: random, max_iterations: 900000000000, search_space: {x: {type: bool}}}", "the maximum here is 100,000,000"),
    ],
)  # fmt: skip
def test_case_15_search_spaces_that_are_bombs(gate: Gate, tuning: str, message: str) -> None:
    assert message in gate.refuse(f"objective: {{python: 'samples:quick'}}\ntuning: {tuning}\n")


def test_case_16_names_that_mean_something_to_a_shell_or_a_table(gate: Gate) -> None:
    for name in ("x; touch /tmp/owned", "$(id)", "=1+1", "a b", "-x"):
        reason = gate.refuse(GOOD.replace("{x:", f"{{'{name}':"))
        assert "is not usable: 1 to 64 letters, digits" in reason


def test_case_17_a_job_that_breaks_what_checks_it_costs_that_job_alone(gate: Gate) -> None:
    def broken(data: bytes, name: str) -> Any:
        raise RecursionError("maximum recursion depth exceeded")

    gate.drop(GOOD)
    intake = gate.intake()
    intake.resolve = broken
    (outcome,) = intake.scan()
    assert isinstance(outcome, Rejected)
    assert "cannot be checked (RecursionError: maximum recursion depth exceeded)" in outcome.reason


# the spool


def test_case_18_a_spool_that_everybody_can_rearrange(layout: SpoolLayout, arbctl: Arbctl, tmp_path: Path) -> None:
    for folder in (layout.root, layout.sessions, layout.incoming):
        folder.chmod(0o777)
        for step in (layout.prepare, layout.require_readable):
            with pytest.raises(SpoolError, match=f"{folder} can be written by everybody and has no sticky bit"):
                step()
        code, _, err = arbctl("list")
        assert (code, err.count("\n")) == (4, 1)
        folder.chmod(0o1777)
        layout.require_readable()
    if os.geteuid() == 0:
        os.chown(layout.sessions, 4242, 4242)
        with pytest.raises(
            SpoolError, match="belongs to user 4242, who is neither the owner of the spool nor this one"
        ):
            layout.prepare()


@pytest.mark.parametrize("where", ["ledger", "segments", "session", "workers", "lock"])
def test_case_19_links_in_the_spool_that_lead_out_of_it(layout: SpoolLayout, tmp_path: Path, where: str) -> None:
    paths = make_session(layout, 10)
    outside = tmp_path / "outside"
    outside.mkdir()
    place, target = {
        "ledger": (paths.ledger, outside / "file"), "segments": (paths.segments, outside), "session": (paths.folder, outside),
        "workers": (layout.workers, outside), "lock": (paths.ledger_lock, outside / "file"),
    }[where]  # fmt: skip
    content = paths.ledger.read_bytes()
    (outside / "file").write_bytes(content if where == "ledger" else b"")
    if place.exists():
        place.rename(tmp_path / "moved")
    place.symlink_to(target)
    if where == "session":
        (outside / "ledger").write_bytes(content)
    files = layout.files()
    with pytest.raises(UnsafePathError, match=r"links|link"):
        if where == "segments":
            files.appender(paths.segments / "a.seg")
        elif where == "workers":
            files.overwrite(layout.workers / "a.beat", b"x")
        else:
            SessionQueue(files, paths).change(lambda state: [{"k": "state", "s": "paused"}])
    assert (outside / "file").read_bytes() == (content if where == "ledger" else b"")
    assert not {path.name for path in outside.iterdir()} - {"file", "ledger"}
    if where == "workers":
        with pytest.raises(UnsafePathError, match="a spool's folders are real ones"):
            layout.prepare()


# what another host wrote


def record_in_ledger(layout: SpoolLayout, record: Any) -> str:
    paths = make_session(layout, 10, name=f"s{len(list(layout.sessions.iterdir()))}")
    offset = paths.ledger.stat().st_size
    with paths.ledger.open("ab") as file:
        file.write(encode_frame(record if isinstance(record, bytes) else bytes(msgpack.packb(record))))
    with pytest.raises(CorruptionError) as caught:
        SessionQueue(layout.files(), paths).refresh()
    assert str(caught.value).startswith(f"{paths.ledger}, byte {offset}: not a ledger record: ")
    return caught.value.reason


def test_case_20_a_ledger_that_lies(layout: SpoolLayout) -> None:
    claim = {"k": "claim", "w": "a", "i": 1, "s": 1, "t": 0, "c": [[1, 1, 5, 0]]}
    for record, message in (
        (
            {**claim, "w": "../../../etc/x"},
            "worker_id is '../../../etc/x', expected a name that a file in the spool can have",
        ),
        ({**claim, "c": [[1, 8, 5, 0]]}, "iterations 8 to 12, of a session of 10"),
        ({**claim, "c": [[1, 1, 5]]}, "claims[0] is a list of 3, expected a list of at least length 4"),
        ({**claim, "i": 1.5}, "incarnation is 1.5, expected an integer"),
        ({**claim, "s": float("nan")}, "slots is nan, expected an integer"),
        ({"k": "finish", "i": 1, "t": 0, "c": [[1, [1, 0, 0, -5], []]]}, "finishes[0].counts[3] is -5"),
        (
            {"k": "again", "r": [[1, 10**18, 0]], "u": [0] * 4, "why": ""},
            "iterations 1 to 1000000000000000000, of a session of 10",
        ),
        ({"k": "state", "s": "\x1b[2J"}, "state is '\\x1b[2J', expected running, paused or cancelled"),
        ({"k": "done", "c": [1, 2, 3], "d": 0}, "counts is a list of 3, expected a list of length 4"),
        ({"k": "open", "v": 1, "n": 10**12}, "the session is opened twice"),
        ({"k": ["claim"]}, "k is a list of 1"),
        ({"k": "claim"}, "no worker_id ('w') in it"),
        ([1], "the record is a list of 1, expected a map"),
        (b"\xdd\xff\xff\xff\xff" * 50, "exceeds max_array_len"),
        (b"\x91" * 5_000 + b"\xc0", "no record"),
        (bytes(msgpack.packb(msgpack.Timestamp(1))), "exceeds max_ext_len"),
    ):
        assert message in record_in_ledger(layout, record)


def test_case_21_segments_with_rows_of_another_session(layout: SpoolLayout) -> None:
    paths = make_session(layout, 10)
    good = rows_of(1, 5)
    rules = RowRules.of(spec_of(10))
    many = {f"m{number}": np.zeros(1) for number in range(MAX_METRICS)}
    hostile: list[RowBatch | bytes] = [
        rows_of(8, 5),  # more iterations than there are
        replace(good, iteration=good.iteration - 5),
        replace(good, iteration=good.iteration[::-1]),
        replace(good, status=np.full(5, 9, dtype=np.uint8)),
        replace(good, epoch=np.full(5, -1, dtype=np.int32)),
        replace(good, params={**good.params, "kind": np.full(5, 7)}),  # a choice that there is not
        replace(good, params={**good.params, "kind": np.zeros(5)}),
        replace(good, params={"x": good.params["x"]}),
        replace(good, metrics={"a" * 500: np.zeros(5)}),
        replace(rows_of(1, 1), metrics=many),  # more columns than the session may have beside "value"
        bytes(msgpack.packb({"v": 1, "n": 10**9, "c": {}, "p": {}, "m": {}, "b": None, "e": {}, "r": {}})),
        bytes(msgpack.packb({"v": 1, "n": 1, "c": [], "p": [], "m": [], "b": None, "e": [], "r": []})),
        bytes(msgpack.packb({"v": 1})),
        b"\x80\x04\x95.",  # a pickle
    ]
    write_rows(paths, "a", good)
    with (paths.segments / "z-0000000000000001-0.1.seg").open("wb") as file:
        for batch in hostile:
            file.write(encode_frame(batch if isinstance(batch, bytes) else batch.encode()))
    (paths.segments / "\x1b[2J-0000000000000001-0.1.seg").write_bytes(encode_frame(good.encode()))
    merge = Merge(layout.files(), paths, rules)
    assert len(merge.damage) == len(hostile)
    assert all(place.path.name.startswith("z-") for place in merge.damage)
    (rows,) = merge.winning_rows()
    assert (merge.workers, rows.iteration.tolist(), merge.duplicates) == (["a"], [1, 2, 3, 4, 5], 0)
    assert [span.first for span in merge.missing(10, 0)] == [6]


def test_case_22_files_that_claim_or_are_more_than_memory_holds(layout: SpoolLayout) -> None:
    paths = make_session(layout, 10)
    with paths.ledger.open("r+b") as file:
        file.truncate(1 << 40)
    with pytest.raises(CorruptionError, match="more damage than can be searched for records"):
        SessionQueue(layout.files(), paths).refresh()
    segment = paths.segments / "a-0000000000000001-0.1.seg"
    segment.write_bytes(HEADER.pack(2**32 - 1, 0) * 100_000)
    assert Merge(layout.files(), paths).duplicates == 0
    paths.results.write_bytes(HEADER.pack(2**32 - 1, 0))
    with pytest.raises(CorruptionError, match=r"byte 0: damaged; `arbctl repair"):
        list(read_results(layout.files(), paths))


def test_case_23_a_heartbeat_in_the_name_of_another(layout: SpoolLayout, tmp_path: Path) -> None:
    def beat(name: str, **changed: Any) -> None:
        record = {"v": 1, "worker_id": name, "incarnation": 1, "counter": 1, "about": {}} | changed
        (layout.workers / f"{name}.beat").write_bytes(encode_frame(bytes(msgpack.packb(record))))

    beat("honest")
    beat("thief", worker_id="../../../outside")
    beat("other", worker_id="honest")
    beat("typed", about={"blocked": [1], "rate": "fast"})
    beat("deep", about={"more": [[[[[[[[[[[[1]]]]]]]]]]]]})
    beat("float", incarnation=float("inf"))
    (layout.workers / "\x1b[2J.beat").write_bytes((layout.workers / "honest.beat").read_bytes())
    os.mkfifo(layout.workers / "pipe.beat")
    (layout.workers / "link.beat").symlink_to("/dev/zero")
    assert [found.worker_id for found in read_beats(layout.files(), layout)] == ["honest"]
    before = sorted(path.name for path in tmp_path.iterdir())
    assert Observer(layout.files(), layout, SystemClock(), 1.0, 60.0).dead("thief", 1) is None
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_case_24_a_resolved_job_or_results_that_another_host_made_up(layout: SpoolLayout, tmp_path: Path) -> None:
    from arbd.daemon.slots.open_session import OpenSession
    from tests.cells import OpenCell

    paths = make_session(layout, 5, objective=ObjectiveSpec("command", ("/bin/sh", "-c", "touch /tmp/owned")))
    setup = SlotSetup("0", "w", 1, 1, tmp_path, tmp_path, tmp_path, (), ("paper",), (tmp_path,))
    with pytest.raises(ObjectiveError, match="the objective command:/bin/sh is not allowed on this host"):
        OpenSession(layout.files(), SystemClock(), paths.folder, "0.1", setup, lambda spec, name: None, OpenCell())  # type: ignore[arg-type,return-value]
    elsewhere = make_session(layout, 5, "elsewhere", objective=ObjectiveSpec("paper"), data=("/etc/passwd",))
    with pytest.raises(ObjectiveError, match="/etc/passwd is not below the folders"):
        OpenSession(layout.files(), SystemClock(), elsewhere.folder, "0.1", setup, lambda spec, name: None, OpenCell())  # type: ignore[arg-type,return-value]
    plain = spec_of(5).to_plain()
    for change, message in (
        ({"n": 2**63}, "n is 9223372036854775808, expected an integer <= 1000000000000"),
        ({"space": []}, "space is a list of 0, expected a list of length >= 1"),
        (
            {"space": [{"type": "choice", "name": "\x1b[2J", "values": [1]}]},
            "the name '\\x1b[2J' is not usable",
        ),
        ({"metrics": [{"name": "v", "direction": "sideways"}]}, "metrics[0].direction is 'sideways'"),
        ({"execution": {**plain["execution"], "memory_mb": 2**62}}, "memory_mb is"),
        ({"data": "x"}, "data is 'x', expected a list"),
    ):
        paths.spec.write_bytes(encode_frame(bytes(msgpack.packb({**plain, **change}))))
        with pytest.raises(CorruptionError, match=re.escape(message)):
            read_spec(layout.files(), paths)
    write_rows(elsewhere, "a", rows_of(1, 5))
    exhaust(elsewhere, 5)
    compact(layout.files(), elsewhere)
    data, rules = elsewhere.results.read_bytes(), RowRules.of(spec_of(5))
    for hostile in (
        with_column(data, "worker", np.full(5, 3, dtype="<i4").tobytes()),
        with_column(data, "p:kind", np.full(5, 7, dtype="<i8").tobytes()),
        with_index(data, lambda index: index.update(workers=["../../../outside"])),
        with_index(data, lambda index: index["groups"][0].update(n=2**40)),
        with_index(data, lambda index: [1]),
    ):
        put(elsewhere.results, hostile)
        with pytest.raises(CorruptionError, match="`arbctl repair "):
            list(read_results(layout.files(), elsewhere, rules=rules))


# what runs, and what is shown


def command(tmp_path: Path, script: str) -> Any:
    program = tmp_path / "program"
    program.write_text(f"#!{sys.executable}\nimport os, sys, time, json, subprocess, resource\n{script}")
    program.chmod(0o755)
    return load_evaluator(spec_of(1, objective=ObjectiveSpec("command", (str(program),))), "s", None, [])


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_case_25_programs_that_want_more_than_they_are_given(tmp_path: Path) -> None:
    status = command(
        tmp_path,
        "status = dict(line.split(':', 1) for line in open('/proc/self/status').read().splitlines())\n"
        "print(json.dumps({'no_new_privs': int(status['NoNewPrivs']), 'leader': os.getsid(0) == os.getpid(), "
        "'core': resource.getrlimit(resource.RLIMIT_CORE)[1], 'files': resource.getrlimit(resource.RLIMIT_NOFILE)[1], "
        "'variables': len(set(os.environ) - {'PATH', 'HOME', 'LANG', 'LC_ALL', 'LC_CTYPE', 'TMPDIR', 'ARBD_ITERATION', 'ARBD_SEED', 'ARBD_BUDGET', 'ARBD_SESSION_ID'})}))\n",
    ).evaluate({"x": 1.0}, Trial(1, 2, "s"))
    assert status.metrics == {"no_new_privs": 1.0, "leader": 1.0, "core": 0.0, "files": 1024.0, "variables": 0.0}
    note = tmp_path / "pid"
    child = f"import os, time; os.setsid(); open({str(note)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    stays = f"""
child = subprocess.Popen([sys.executable, '-c', {child!r}])
while not os.path.exists({str(note)!r}) or not open({str(note)!r}).read(): time.sleep(0.01)
print('{{"value": 1}}')
"""
    # A child in a session of its own holds the outputs open, and is gone when the program is.
    assert command(tmp_path, stays).evaluate({"x": 1.0}, Trial(1, 2, "s")).metrics == {"value": 1.0}
    assert not is_running(int(note.read_text()))
    with pytest.raises(ObjectiveError, match="printed more than 16 MiB"):
        command(tmp_path, "while True: os.write(1, b'x' * 65536)").evaluate({"x": 1.0}, Trial(1, 2, "s"))
    (tmp_path / "program").chmod(0o777)
    with pytest.raises(ObjectiveError, match="can be written by every user of this host: chmod o-w"):
        load_evaluator(spec_of(1, objective=ObjectiveSpec("command", (str(tmp_path / "program"),))), "s", None, [])


def test_what_a_timeout_kills_is_everything_that_was_started(tmp_path: Path) -> None:
    from arbd.objective.processes import adopt_orphans, children, descendants, kill_tree

    adopt_orphans()
    pid = os.fork()
    if pid == 0:
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                signal.pause()
            signal.pause()
        signal.pause()
    wait_until(lambda: len(descendants(pid)) == 2, what="three processes")
    below = descendants(pid)
    kill_tree(pid)
    os.waitpid(pid, 0)

    def comes_to_us_and_has_ended(one: int) -> bool:
        # It is this process's child once all above it have ended.
        with contextlib.suppress(ChildProcessError):
            return os.waitpid(one, os.WNOHANG)[0] == one
        return False

    for one in below:
        wait_until(partial(comes_to_us_and_has_ended, one), what="the end of all that was started")
    assert not below & children()


def test_texts_of_others_move_no_cursor_fake_no_line_and_are_no_formula(layout: SpoolLayout, arbctl: Arbctl) -> None:
    evil = "\x1b]0;owned\x07\x9b2J\u202e\nsession s (done) 5 completed\n=cmd|' /C calc'!A0"
    paths = make_session(layout, 5)
    rows = replace(rows_of(1, 5, status=1), errors={1: evil, 2: "=1+1", 3: "'=1+1", 4: "-2", 5: "plain"})
    write_rows(paths, "a", rows)
    exhaust(paths, 5, (0, 5, 0, 0))
    _, out, _ = arbctl("summary", "s")
    assert not set("\x1b\x07\x9b\u202e") & set(out)
    assert not any(line.startswith("session s (done) 5") for line in out.splitlines())
    log = key_values({"reason": evil})
    assert "\n" not in log
    assert escape_control_chars(log) == log
    target = layout.root / "out.csv"
    assert arbctl("export", "s", "--format", "csv", "--output", target)[0] == 0
    cells = [row["error"] for row in csv.DictReader(io.StringIO(target.read_text()))]
    assert not [cell for cell in cells if cell[:1] in ("=", "+", "-", "@", "\t", "\r")]
    from arbd.analysis import load_results_from_csv

    assert [result.error for result in load_results_from_csv(target)][1:] == ["=1+1", "'=1+1", "-2", "plain"]
    assert b"".join(csv_lines(spec_of(5), "s", [])).startswith(b"session_id,")


def test_every_case_of_the_threat_model_is_a_test_here() -> None:
    text = (REPOSITORY / "docs" / "threat-model.md").read_text()
    told = re.findall(r"`(test_case_\d\d_\w+)`", text)
    here: dict[str, Callable[..., object]] = {
        name: value for name, value in globals().items() if name.startswith("test_case_")
    }
    assert told == sorted(here)
    assert len(told) == 25


def test_spool_files_are_those_below_the_root_alone(tmp_path: Path) -> None:
    files = spool_files(tmp_path)
    for path in (tmp_path.parent / "x", tmp_path / ".." / "x"):
        with pytest.raises(UnsafePathError, match="the spool"):
            files.read(path)
    with pytest.raises(FileNotFoundError) as caught:
        files.read(tmp_path / "no" / "thing")
    assert caught.value.filename == str(tmp_path / "no" / "thing")


def test_a_hostile_name_in_one_place_does_not_hide_the_rest(layout: SpoolLayout, arbctl: Arbctl) -> None:
    paths = make_session(layout, 5)
    write_rows(paths, "a", rows_of(1, 5))
    (paths.segments / "b-0000000000000001-0.1.seg").symlink_to("/dev/zero")
    (layout.sessions / "\x1b[2J").mkdir()
    (layout.sessions / "link").symlink_to("/")
    (layout.sessions / ".left.0123abcd.new").symlink_to("/")
    merge = Merge(layout.files(), paths, RowRules.of(spec_of(5)))
    (rows,) = merge.winning_rows()
    assert (rows.iteration.tolist(), len(merge.damage)) == ([1, 2, 3, 4, 5], 1)
    code, out, err = arbctl("status")
    assert (code, out.splitlines()[1].split()[0]) == (0, "s")
    assert "is a symbolic link, or no folder" in err
    assert "\x1b" not in out + err
    gone = layout.sessions / ".left.89abcdef.removed"
    deep = gone
    for _ in range(20):
        deep = deep / "d"
    deep.mkdir(parents=True)
    (layout.incoming / f"job{SUBMITTED_SUFFIX}").write_text("bad")
    (outcome,) = Intake(layout.files(), layout, SystemClock(), lambda data, name: spec_of(3)).scan()
    assert isinstance(outcome, Accepted)
    assert not os.path.lexists(layout.sessions / ".left.0123abcd.new")
    assert Path("/etc").is_dir()


def test_a_session_without_a_readable_row_is_a_table_without_rows(layout: SpoolLayout, arbctl: Arbctl) -> None:
    paths = make_session(layout, 5)
    (paths.segments / "a-0000000000000001-0.1.seg").write_bytes(encode_frame(b"\x80\x04\x95."))
    for form in ("csv", "jsonl", "msgpack", "parquet"):
        target = layout.root / f"out.{form}"
        assert arbctl("export", "s", "--format", form, "--output", target)[:2] == (0, f"0 rows in {target}\n")
    assert arbctl("summary", "s")[0] == 0


@pytest.mark.parametrize(("number", "is_kept"), [(7, True), (20_000, False)])
def test_one_row_of_very_many_blocks_does_not_make_all_others_as_large(
    layout: SpoolLayout, monkeypatch: pytest.MonkeyPatch, number: int, is_kept: bool
) -> None:
    monkeypatch.setattr(column_bytes, "WIDENED_BYTES", 1 << 20)
    paths = make_session(layout, 10)
    write_rows(paths, "a", rows_of(1, 9, blocks=True), replace(rows_of(10, 1), blocks=np.ones((1, number, 2))))
    (group,) = Merge(layout.files(), paths, RowRules.of(spec_of(10))).groups()
    assert group.rows.blocks is not None
    assert group.rows.blocks.shape == (10, number if is_kept else 2, 2)
    assert not np.isnan(group.rows.blocks[:9, :2]).any()
    assert np.isnan(group.rows.blocks[9]).all() != is_kept


def test_a_heartbeat_stays_readable_however_much_its_worker_has_to_say(layout: SpoolLayout) -> None:
    about = {"blocked": {f"s{number}": "\ud800x" * 50_000 for number in range(500)}, "trouble": "y" * 10**6}
    write_beat(layout.files(), layout, Beat("w", 1, 1, about))
    (found,) = read_beats(layout.files(), layout)
    assert len(found.about["blocked"]) == 60
    assert found.about["trouble"] == "y" * 250


def test_code_that_everybody_may_write_or_that_is_elsewhere_is_not_imported(tmp_path: Path) -> None:
    spec = spec_of(1, objective=ObjectiveSpec("python", ("hostile_module:f",)))
    (tmp_path / "real.py").write_text("raise SystemExit('imported')\n")
    folder = tmp_path / "objectives"
    folder.mkdir()
    (folder / "hostile_module.py").symlink_to(tmp_path / "real.py")
    with pytest.raises(ObjectiveError, match="is a link that leads out of `objective_paths`"):
        load_evaluator(spec, "s", None, [folder])
    (folder / "hostile_module.py").unlink()
    (folder / "hostile_module.py").write_text("raise SystemExit('imported')\n")
    (folder / "hostile_module.py").chmod(0o666)
    with pytest.raises(ObjectiveError, match="can be written by every user of this host"):
        load_evaluator(spec, "s", None, [folder])
    (folder / "hostile_module.py").chmod(0o644)
    with pytest.raises(ObjectiveError, match="is not the file that the job was accepted with"):
        load_evaluator(replace(spec, digests={"python:hostile_module": "0" * 64}), "s", None, [folder])
