"""Deliberate errors come back from other processes as they were."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

from arbd import __version__
from arbd.errors import (
    ArbdError,
    CorruptionError,
    DataError,
    JobError,
    NoSessionError,
    Problem,
    UnopenedError,
    UnsafePathError,
    VersionError,
)
from arbd.named_file import MissingFileError, RefusedError
from arbd.spool.sessions import SessionExistsError

MADE = (
    JobError("job.yaml", [Problem("is wrong", "tuning.method", 3)]),
    DataError("quotes.csv", "is empty", 7),
    VersionError("s/ledger", "ledger", 1, 2, "0.9.0"),
    CorruptionError("s/ledger", 12, "damaged"),
    UnopenedError("s/ledger", "s"),
    UnsafePathError("s/ledger", "is a link"),
    SessionExistsError("session s exists already"),
    NoSessionError("s", Path("sessions"), "did you mean t? "),
    MissingFileError("quotes.csv", "is nowhere"),
    RefusedError("quotes.csv", "is not below the folders of data"),
)


def kinds(of: type[ArbdError] = ArbdError) -> Iterator[type[ArbdError]]:
    yield of
    for kind in of.__subclasses__():
        yield from kinds(kind)


def made_like_its_base(kind: type[ArbdError]) -> ArbdError:
    """One of a kind that has no example of its own: its constructor is the base's."""
    if issubclass(kind, DataError):
        return kind("quotes.csv", "is missing")
    return kind("what is wrong")


@pytest.mark.parametrize("kind", sorted(set(kinds()), key=lambda kind: kind.__name__))
def test_every_error_survives_the_way_from_another_process(kind: type[ArbdError]) -> None:
    error = next((made for made in MADE if type(made) is kind), None) or made_like_its_base(kind)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert (str(again), again.args, again.__dict__) == (str(error), error.args, error.__dict__)
    assert again.exit_code == error.exit_code


@pytest.mark.parametrize(
    ("found", "writer", "said"),
    [
        (2, "0.9.0", "written by arbd 0.9.0, with ledger schema 2; "),
        (2, "", "written by another version of arbd, with ledger schema 2; "),
        (None, "0.9.0", "written by arbd 0.9.0, with no ledger schema number; "),
        (0, "0.0.1", "written by arbd 0.0.1, with ledger schema 0; "),
    ],
)
def test_a_version_error_says_who_wrote_what_who_reads_what_and_what_to_do(
    found: int | None, writer: str, said: str
) -> None:
    told = str(VersionError("s/ledger", "ledger", 1, found, writer))
    assert told.startswith(f"s/ledger: {said}this is arbd {__version__}, which reads ledger schema 1: ")
    assert ("read it with the version that wrote it" if found == 0 else "upgrade arbd on this host") in told
    assert told.endswith("nothing is wrong with the file")


@pytest.mark.parametrize("kind", sorted(set(kinds()), key=lambda kind: kind.__name__))
def test_every_error_can_be_written_whatever_a_file_held(kind: type[ArbdError]) -> None:
    made = next((made for made in MADE if type(made) is kind), None) or made_like_its_base(kind)
    error = pickle.loads(pickle.dumps(made))
    error.args = ("symbol \ud800 and q\udcff.csv",)
    error.__dict__ = {name: "\ud800" if isinstance(value, str) else value for name, value in error.__dict__.items()}
    assert "\\ud800" in str(error).encode().decode()
