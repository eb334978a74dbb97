"""Whatever a person names wrongly, in whichever command: one error that names it, the nearest that there is, no success.

The commands are those that `arbctl` has: a new one is tried with the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from arbd.cli.__main__ import cli
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.liveness import Beat, write_beat
from tests.conftest import REPOSITORY, Arbctl
from tests.spool.sessions import exhaust, make_session, rows_of, write_rows

SESSION, WORKER = "kimchi-btc-01", "host-alpha"
# What stands on the command line beside a wrong name, so that it is the only mistake.
BESIDE = {
    "compare": [SESSION],
    "export": ["--format", "csv", "--output", "{tmp}/x.csv"],
    "extend": ["--iterations", "30"],
    "market import": ["--format", "tardis-quotes", "--output", "{tmp}/x.csv"],
    "market convert": ["{tmp}/x.npz"],
    "promote": ["--to", "{tmp}/x.yaml"],
    "purge": ["--segments"],
    "replay": ["3"],
    "report": ["--output", "{tmp}/x.html"],
    "set": ["priority=5"],
}
# By what an argument or an option is called: a wrong name, and the right one that is nearest.
WRONG = {
    "session": ("kimchi-btc-10", SESSION),
    "sessions": ("kimchi-btc-10", SESSION),
    "worker": ("host-alhpa", WORKER),
    "job": ("{tmp}/quiet-jbo.yaml", "quiet-job.yaml"),
    "jobs": ("{tmp}/quiet-jbo.yaml", "quiet-job.yaml"),
    "file": ("{tmp}/quotes-2025.cvs", "quotes-2025.csv"),
    "files": ("{tmp}/quotes-2025.cvs", "quotes-2025.csv"),
    "files_a": ("{tmp}/quotes-2025.cvs", "quotes-2025.csv"),
    "source": ("{tmp}/quotes-2025.cvs", "quotes-2025.csv"),
    "csv_path": ("{tmp}/quotes-2025.cvs", "quotes-2025.csv"),
}
# What is in Redis of a session may outlive it: any name can be meant. The others are a number, a file to be written, and a
# session of a standing job, which has to be right first.
NO_NAMES = {
    ("mirror remove", "sessions"), ("slurm script", "jobs"), ("market describe", "job"), ("standing show", "session")
}  # fmt: skip


def _commands(group: click.Group, path: str, context: click.Context) -> Iterator[tuple[str, click.Command]]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from _commands(command, f"{path} {name}".strip(), click.Context(command, parent=context))
        elif command is not None:
            yield f"{path} {name}".strip(), command


def _cases() -> list[tuple[str, str, bool]]:
    return [
        (path, str(param.name), isinstance(param, click.Option))
        for path, command in _commands(cli, "", click.Context(cli))
        for param in command.params
        if param.name in WRONG and (path, param.name) not in NO_NAMES
    ]


@pytest.fixture
def desk(layout: SpoolLayout, tmp_path: Path) -> SpoolLayout:
    """A spool with one session and one worker, and files beside it."""
    paths = make_session(layout, 20, SESSION)
    write_rows(paths, WORKER, rows_of(1, 20))
    exhaust(paths, 20, (20, 0, 0, 0))
    write_beat(Files(), layout, Beat(WORKER, 1, 1, {"host": "rack-7"}))
    for name in ("quiet-job.yaml", "quotes-2025.csv"):
        (tmp_path / name).touch()
    return layout


def _line(path: str, param: str, wrong: str, tmp_path: Path, *, option: bool) -> list[str]:
    flag = {"csv_path": "--csv", "files_a": "--a"}.get(param, f"--{param}")
    names = [flag, wrong] if option else [wrong]
    beside = BESIDE.get(path, [])
    if param == "files_a":
        beside = [*beside, "--b", wrong]
    return [part.format(tmp=tmp_path) for part in (*path.split(), *names, *beside)]


@pytest.mark.parametrize(("path", "param", "option"), _cases())
def test_a_wrong_name_is_told_with_the_nearest_and_is_no_success(
    arbctl: Arbctl, desk: SpoolLayout, tmp_path: Path, path: str, param: str, option: bool
) -> None:
    wrong, right = WRONG[param]
    log = tmp_path / "arbd.log"
    log.write_text("time=1 level=info event=ended worker=another session=another\n")
    line = _line(path, param, wrong, tmp_path, option=option)
    if path == "logs" and param != "file":
        line += ["--file", str(log)]
    code, out, err = arbctl(*line)
    assert code in (2, 3), (code, out, err)
    assert out == ""
    assert err.count("\n") == 1
    assert Path(wrong).name in err
    assert f"did you mean '{right}'?" in err


@pytest.mark.parametrize(
    ("path", "param"), [(path, param) for path, param, _ in _cases() if WRONG[param][0].startswith("{tmp}")]
)
def test_a_file_that_is_not_there_is_told_before_anything_of_the_spool(
    arbctl: Arbctl, tmp_path: Path, path: str, param: str
) -> None:
    arbctl.spool = tmp_path / "no-spool"
    option = param in ("csv_path", "files_a") or path == "logs"
    wrong = str(tmp_path / "nowhere" / "x.csv")
    code, _, err = arbctl(*_line(path, param, wrong, tmp_path, option=option))
    assert code in (2, 3)
    assert f"{wrong}: no such file on this host, nor its folder {tmp_path / 'nowhere'}" in err
    assert "spool" not in err.replace("test_a_file_that_is_not_there_is_told_before_anything_of_the_spool", "")


def test_the_job_files_of_the_repository_are_found_from_anywhere(arbctl: Arbctl, desk: SpoolLayout) -> None:
    code, _, err = arbctl("validate", REPOSITORY / "etc" / "jobs" / "gird.yaml")
    assert (code, "did you mean 'grid.yaml'?" in err) == (2, True)


def test_logs_of_a_name_that_is_known_and_of_which_nothing_was_logged_are_no_mistake(
    arbctl: Arbctl, desk: SpoolLayout, tmp_path: Path
) -> None:
    log = tmp_path / "arbd.log"
    log.write_text("time=1 level=info event=ended worker=old session=purged\n")
    assert arbctl("logs", SESSION, "--file", log)[:2] == (0, "nothing logged\n")
    assert arbctl("logs", "--worker", WORKER, "--file", log)[:2] == (0, "nothing logged\n")
    assert arbctl("logs", "purged", "--worker", WORKER, "--file", log)[:2] == (0, "nothing logged\n")
    arbctl.spool = tmp_path / "no-spool"
    assert arbctl("logs", "purged", "--file", log)[0] == 0
    code, _, err = arbctl("logs", "pruged", "--file", log)
    assert (code, "the log tells of no session pruged (did you mean 'purged'?), and" in err) == (3, True)
