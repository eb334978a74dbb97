"""The door for files that jobs name: of whatever kind, by whatever way, under every rule, the file that was judged is read."""

from __future__ import annotations

import ast
import hashlib
import itertools
import os
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import arbd
from arbd.daemon.host.config import Config
from arbd.daemon.side.intake_process import job_resolver
from arbd.errors import ArbdError, DataError, JobError
from arbd.job.policy import ObjectivePolicy
from arbd.named_file import ANY, Allowance, MissingFileError, NamedFile, ReadRule, RefusedError, first_of, open_named
from arbd.paper.market import cache
from arbd.paper.market.cache import load, load_quotes
from arbd.paper.market.readers import read_quotes

SECRET = "root:secret-of-somebody"
HEAD = "ts_s,bid_a,ask_a,bid_b,ask_b\n"
START = 1_735_689_600


def quotes_text(price: int = 100, rows: int = 3) -> str:
    return HEAD + "".join(f"{START + i},{price},{price + 1},{price},{price + 1}\n" for i in range(rows))


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that every user may go to: those of tests are private."""
    with tempfile.TemporaryDirectory(prefix="arbd-public-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def placed(folder: Path, name: str, text: str = SECRET, mode: int = 0o644) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def special(folder: Path, kind: str) -> Path:
    path = folder / f"{kind}.csv"
    if kind == "pipe":
        os.mkfifo(path, 0o777)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(str(path))
    elif kind == "folder":
        path.mkdir()
    elif kind == "link to a device":
        path.symlink_to("/dev/zero")
    elif kind == "link to itself":
        path.symlink_to(path.name)
    elif kind == "dangling link":
        path.symlink_to("nowhere")
    return path


KINDS = ("pipe", "socket", "folder", "link to a device", "link to itself", "dangling link")
PLACES = {
    "data": "data: ['{0}']\ntuning: {{method: grid, search_space: {{min_spread_pct: {{type: float, bounds: [0.1, 1]}}}}}}\n",
    "scenarios": "tuning: {{method: grid, scenarios: ['{0}'], search_space: {{min_spread_pct: {{type: float, bounds: [0.1, 1]}}}}}}\n",
    "start_from": "objective: {{python: 'm:f'}}\ntuning: {{method: tpe, max_iterations: 9, start_from: '{0}', search_space: {{x: {{type: float, bounds: [0, 1]}}}}}}\n",
    "command": "objective: {{command: ['{0}']}}\ntuning: {{method: random, max_iterations: 5, search_space: {{x: {{type: float, bounds: [0, 1]}}}}}}\n",
}  # fmt: skip


def refuse(home: Path, job: str, **changed: object) -> str:
    """What the daemon's own resolver says of a job that it refuses."""
    (home / "spool").mkdir(exist_ok=True)
    config = Config(spool=home / "spool", allow=("paper", "python:*", "command:*"), cache_dir=home / "cache", **changed)  # type: ignore[arg-type]
    with pytest.raises(JobError) as caught:
        job_resolver(config)(job.encode(), "job.yaml")
    return str(caught.value)


def test_a_job_of_more_than_the_host_reads_for_one_is_refused_before_any_of_it_is_read(
    tmp_path: Path, public: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NamedFile, "stream", lambda file: pytest.fail(f"{file.path} is read"))
    path = public / "large.csv"
    path.touch()
    os.truncate(path, 10**9 + 1)
    told = refuse(tmp_path, PLACES["data"].format(path), data_dirs=(public,), intake_read_gb=1)
    assert "more than 1 GB in all" in told
    assert "`intake_read_gb`" in told


def test_files_count_together_once_each_and_what_one_grew_by(public: Path) -> None:
    rule = ReadRule((public,), allowance=Allowance(100, "intake_read_gb"))

    def open_one(name: str, size: int) -> None:
        (public / name).write_bytes(b"x" * size)
        open_named(public / name, 1000, rule).close()

    before = len(os.listdir("/proc/self/fd"))
    open_one("a", 60)
    open_one("a", 60)
    open_one("b", 30)
    for name, size in (("c", 11), ("a", 71), ("b", 41)):
        with pytest.raises(RefusedError, match="one too many"):
            open_one(name, size)
    open_one("c", 4)
    open_one("b", 36)
    with pytest.raises(RefusedError):
        open_one("d", 1)
    open_one("d", 0)
    assert len(os.listdir("/proc/self/fd")) == before
    # The next job's are counted anew.
    open_named(public / "b", 1000, replace(rule, allowance=Allowance(100, "intake_read_gb"))).close()


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_regular_file_is_never_waited_for_wherever_a_job_names_it(
    tmp_path: Path, public: Path, kind: str, place: str
) -> None:
    path = special(public, kind)
    for data_dirs in ((), (public,)):
        told = refuse(tmp_path, PLACES[place].format(path), data_dirs=data_dirs)
        assert any(
            word in told
            for word in (
                "not a regular file",
                "no such file",
                "cannot be read",
                "is no program",
                "not below",
                "every user",
            )
        ), told


@pytest.mark.parametrize("place", ["data", "scenarios", "start_from"])
@pytest.mark.parametrize("rule", ["folders", "public"])
@pytest.mark.parametrize("way", ["direct", "link", "link of a folder", "dots"])
def test_a_file_that_may_not_be_read_is_neither_read_nor_told_of(
    tmp_path: Path, public: Path, place: str, rule: str, way: str
) -> None:
    """Whether it is there, what is in it, and where a link to it leads: nothing."""
    hidden = tmp_path / "hidden"
    suffix = ".yaml" if place == "scenarios" else ".csv"
    outside = placed(hidden, f"secret{suffix}")
    hidden.chmod(0o700)
    data = public / "data"
    data.mkdir()
    names = {"direct": outside, "link": data / f"link{suffix}", "dots": data / ".." / ".." / ".." / str(outside)[1:]}
    (data / f"link{suffix}").symlink_to(outside)
    (data / "folder").symlink_to(hidden)
    names["link of a folder"] = data / "folder" / f"secret{suffix}"
    told = []
    for there in (True, False):
        if not there:
            outside.unlink()
        # For root, as which the tests may run, nothing of its own is an exception; for others what is theirs is.
        dirs = (data,) if rule == "folders" or os.geteuid() else ()
        told.append(refuse(tmp_path, PLACES[place].format(names[way]), data_dirs=dirs))
        assert SECRET not in told[-1]
        assert ("is not below the folders" if dirs else "cannot be read by every user") in told[-1]
    assert told[0] == told[1]


@pytest.mark.skipif(os.geteuid() != 0, reason="for others what is their own may be read")
@pytest.mark.parametrize(
    "modes", list(itertools.product([0o755, 0o711, 0o750, 0o700], [0o755, 0o700], [0o644, 0o640, 0o600]))
)
def test_every_folder_on_the_way_counts_for_what_every_user_may_read(public: Path, modes: tuple[int, int, int]) -> None:
    above, folder, file = modes
    path = placed(public / "above" / "folder", "q.csv", quotes_text(), file)
    path.parent.chmod(folder)
    path.parent.parent.chmod(above)
    readable = above & 0o001 and folder & 0o001 and file & 0o004
    for rule in (ReadRule(()), ObjectivePolicy(data_dirs=()).reading):
        assert (rule.refusal(path) is None) == bool(readable)
        if readable:
            with open_named(path, 1000, rule) as opened:
                assert opened.quotable
            continue
        with pytest.raises(RefusedError):
            open_named(path, 1000, rule)
    with open_named(path, 1000, ReadRule((public,))) as opened:
        assert opened.quotable == bool(readable)


@pytest.mark.parametrize("place", ["data", "scenarios", "start_from"])
@pytest.mark.parametrize("text", [f"{SECRET},a\n1,2\n", HEAD + f"{SECRET},1,2,1,2\n", f"session_id,worker_id,iteration,status,{SECRET}\ns,w,{SECRET},x,1\n", f"{SECRET}: [1, 2]\n"])  # fmt: skip
@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_what_is_in_a_file_is_told_only_of_what_every_user_may_read(
    tmp_path: Path, public: Path, place: str, text: str, mode: int
) -> None:
    path = placed(public, "f.yaml" if place == "scenarios" else "f.csv", text, mode)
    told = refuse(tmp_path, PLACES[place].format(path), data_dirs=(public,))
    if mode == 0o600:
        assert SECRET not in told
        assert "is not told here" in told or "no column" in told
    else:
        assert "is not told here" not in told


PATTERNS = ["q[1].csv", "a?.csv", "{a,b}.csv", "[!x].csv", "**.csv", "*.csv", "fx=2/q.csv", "block=7/q.csv", "a b'c\".csv", "q\n.csv", "-q.csv", "%41.csv"]  # fmt: skip


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".csv.zst", ".parquet", ".npz"])
def test_a_name_is_a_name_and_no_pattern_whatever_it_looks_like(tmp_path: Path, suffix: str) -> None:
    from arbd.paper.market.quotes import build_quotes
    from arbd.paper.market.writers import write_quotes

    for decoy in ("q1", "ab", "a", "b", "y", "A"):
        placed(tmp_path, f"{decoy}.csv", quotes_text(900))
    quotes, _ = read_quotes(placed(tmp_path, "plain.csv", quotes_text(100)))
    for pattern in PATTERNS:
        path = tmp_path / "own" / pattern.replace(".csv", suffix)
        path.parent.mkdir(parents=True, exist_ok=True)
        plain = tmp_path / f"made{suffix}"
        write_quotes(build_quotes(quotes.told(), "made")[0], plain)
        plain.rename(path)
        for found in (read_quotes(path)[0], load_quotes(path, tmp_path / "cache")):
            assert found.bid_a.tolist() == [100.0] * 3
            assert set(found.told()) == set(quotes.told())


def test_a_link_put_on_the_way_after_it_was_judged_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, secret = placed(tmp_path / "data", "q.csv", quotes_text()), placed(tmp_path / "private", "q.csv")
    judged = ReadRule.admit

    def judged_then_swapped(self: ReadRule, path: Path, real: Path) -> None:
        judged(self, path, real)
        (tmp_path / "data").rename(tmp_path / "moved")
        (tmp_path / "data").symlink_to(secret.parent)

    monkeypatch.setattr(ReadRule, "admit", judged_then_swapped)
    with pytest.raises(DataError, match="Not a directory"):
        open_named(good, 1000, ReadRule((tmp_path / "data",)))


def test_a_file_put_in_place_after_it_was_opened_is_not_read(tmp_path: Path) -> None:
    path = placed(tmp_path, "q.csv", quotes_text(100))
    with open_named(path, 10_000) as file:
        placed(tmp_path, "other.csv", quotes_text(900)).rename(path)
        assert read_quotes(file)[0].bid_a.tolist() == [100.0] * 3
        assert file.digest() != hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("when", ["before the copy", "after the copy"])
def test_a_file_that_grows_while_it_is_read_poisons_no_entry_of_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    path, folder = placed(tmp_path, "q.csv", quotes_text(100)), tmp_path / "cache"
    first = hashlib.sha256(path.read_bytes()).hexdigest()
    original = cache.NamedFile.copy

    def growing(self: cache.NamedFile, target: Path | None) -> cache.NamedFile:
        if when == "before the copy":
            path.write_text(quotes_text(100) + quotes_text(900).removeprefix(HEAD))
            return original(self, target)
        found = original(self, target)
        path.write_text(quotes_text(100) + quotes_text(900).removeprefix(HEAD))
        return found

    monkeypatch.setattr(cache.NamedFile, "copy", growing)
    if when == "before the copy":
        with pytest.raises(DataError, match="was written to while it was read"):
            load_quotes(path, folder)
    else:
        assert len(load(path, folder).quotes) == 3
    monkeypatch.undo()
    path.write_text(quotes_text(100))
    found = load(path, folder)
    assert (found.digest, len(found.quotes)) == (first, 3)
    assert len(load_quotes(path, folder, expected_digest=first)) == 3


def test_the_same_bytes_under_another_suffix_are_another_entry(tmp_path: Path) -> None:
    path = placed(tmp_path, "q.csv", quotes_text())
    assert len(load_quotes(path, tmp_path / "cache")) == 3
    (tmp_path / "q.npz").write_bytes(path.read_bytes())
    with pytest.raises(DataError, match="not an NPZ file"):
        load_quotes(tmp_path / "q.npz", tmp_path / "cache")


def test_a_file_is_bounded_before_it_is_read(tmp_path: Path) -> None:
    path = placed(tmp_path, "results.csv", "")
    os.truncate(path, 6 << 30)
    told = refuse(tmp_path, PLACES["start_from"].format(path), data_dirs=(tmp_path,))
    assert "is larger than 128 MiB" in told
    os.truncate(path, 40 << 30)
    path.chmod(0o755)
    assert "is larger than 1 GiB" in refuse(tmp_path, PLACES["command"].format(path))


def test_nothing_of_a_program_that_may_not_run_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = placed(tmp_path, "big.sh", "#!/bin/sh\n", 0o755)
    opened: list[str] = []
    real = os.open

    def noted(path: str, flags: int, *more: object, **named: object) -> int:
        opened.append(str(path))
        return real(path, flags, *more, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", noted)
    config = Config(spool=tmp_path, cache_dir=tmp_path / "cache")
    with pytest.raises(JobError, match="is not allowed on this host"):
        job_resolver(config)(PLACES["command"].format(program).encode(), "job.yaml")
    assert not [path for path in opened if "big.sh" in path]


def test_of_several_places_the_first_that_has_the_file_counts_and_a_refusal_ends_the_search(tmp_path: Path) -> None:
    second = placed(tmp_path / "b", "q.csv")
    with first_of([tmp_path / "a" / "q.csv", second], 1000) as file:
        assert file.real == second
    with pytest.raises(MissingFileError, match="a/q.csv, .*c/q.csv: no such file"):
        first_of([tmp_path / "a" / "q.csv", tmp_path / "c" / "q.csv"], 1000)
    with pytest.raises(RefusedError):
        first_of([tmp_path / "a" / "q.csv", second], 1000, ReadRule((tmp_path / "b",)))


@pytest.mark.parametrize("name", ["a\0b", "x" * 300, "", "q.csv/x", "\udcff"])
def test_what_is_no_path_is_an_error_and_no_crash(tmp_path: Path, name: str) -> None:
    placed(tmp_path, "q.csv")
    for rule in (ANY, ReadRule(()), ReadRule((tmp_path,))):
        with pytest.raises(ArbdError):
            open_named(tmp_path / name, 1000, rule)


# What opens, or looks at, files by their names. These modules get names from jobs, and may do neither.
OPENERS = {"open", "read_text", "read_bytes", "load", "ZipFile", "is_file", "exists", "from_file", "fdopen"}
ALLOWED = {
    ("job/code.py", "read_bytes"): "sources of this package",
    ("job/code.py", "is_file"): "sources of this package",
    ("job/modules.py", "is_file"): "which of two places a module is in; it is opened by the door",
    ("job/file.py", "load"): "the job file itself, which its own user names",
    ("job/resolve.py", "is_file"): "which of several places a program is in; it is opened by the door",
    (
        "objective/foreign.py",
        "read_bytes",
    ): "modules in folders that the administrator names, in an interpreter without arbd",
    ("objective/foreign.py", "open"): "/dev/null",
    ("objective/foreign.py", "fdopen"): "its own standard input and output",
    ("objective/foreign_cell.py", "read_text"): "/proc",
    ("objective/processes.py", "read_text"): "/proc",
    ("paper/code_cache.py", "read_bytes"): "sources of this package",
    ("paper/machine_code.py", "read_bytes"): "sources of this package",
    ("paper/compiled.py", "exists"): "the cache's own",
    ("paper/kernel/memory.py", "load"): "memory, in machine code",
    ("paper/market/cache.py", "read_text"): "the cache's own notes and manifests",
    ("paper/market/cache.py", "load"): "the cache's own entries",
    ("paper/market/cache.py", "exists"): "the cache's own entries",
    ("paper/market/days.py", "is_file"): "entries of a folder, once its policy is asked; the door opens each",
    ("paper/market/growing.py", "open"): "arrays in a temporary folder or an entry of the cache",
    ("paper/market/growing.py", "load"): "arrays in a temporary folder or an entry of the cache",
    ("paper/market/importers/documents.py", "open"): "the door's own descriptor",
    ("paper/market/importers/recognise.py", "open"): "the door's own descriptor",
    ("paper/market/npz.py", "ZipFile"): "a stream of the door",
    ("paper/market/npz.py", "open"): "a member of it",
    ("paper/market/retention.py", "read_text"): "the cache's own bound",
    ("paper/market/retention.py", "is_file"): "the cache's own entries",
    ("paper/market/store.py", "load"): "the cache's own entries",
    ("paper/market/store.py", "open"): "the cache's own entries",
    ("paper/market/texttable.py", "open"): "the door's own descriptor",
    ("paper/market/unpacked.py", "ZipFile"): "a stream of the door",
    ("paper/market/unpacked.py", "open"): "a stream of the door, and a member of it",
    ("paper/market/writers.py", "open"): "output",
    ("paper/market/writers.py", "ZipFile"): "output",
    ("paper/reference/convergence.py", "open"): "a position",
}
NAMED_BY_JOBS = ("job", "objective", "paper", "results/warm_start.py", "results/csv_reader.py")


def test_nothing_but_the_door_opens_what_jobs_name() -> None:
    root = Path(arbd.__file__).parent
    sources = [
        path
        for part in NAMED_BY_JOBS
        for path in ([root / part] if part.endswith(".py") else (root / part).rglob("*.py"))
    ]
    found = set()
    for source in sources:
        for node in ast.walk(ast.parse(source.read_text())):
            if isinstance(node, ast.Call):
                name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                owner = node.func.value if isinstance(node.func, ast.Attribute) else None
                # `cache.load` and `strict_yaml.parse` take what the door opened.
                if name in OPENERS and not (name == "load" and owner is None):
                    found.add((str(source.relative_to(root)), name))
    assert found <= set(ALLOWED), found - set(ALLOWED)


class Growing:
    """Somebody who adds to a file whenever some more of it was read: there is no end to it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.calls = 0

    def advanced(self) -> None:
        self.calls += 1
        assert self.calls < 100, "it is read for ever"
        os.truncate(self.path, self.path.stat().st_size + (4 << 20))

    def waits(self, begins: bool) -> None:
        pass


@pytest.mark.parametrize("read", ["digest", "copy"])
def test_a_file_that_grows_while_it_is_read_holds_nobody(read: str, tmp_path: Path) -> None:
    path = placed(tmp_path, "growing.csv", "x" * (3 << 20))
    with (
        open_named(path, 1 << 30, ReadRule(reading=Growing(path))) as file,
        pytest.raises(DataError, match="was written to while it was read"),
    ):
        file.digest() if read == "digest" else file.copy(tmp_path)
