"""Whatever file is given where a job is wanted, what is said is one line: the file, what is wrong with it, what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

import arbd
from arbd.errors import ArbdError
from tests.conftest import Arbctl

TABLE = "ts_ns,bid_a,ask_a,bid_b,ask_b\n" + "1735689600000000000,1,2,3,4\n" * 2_000
OTHERS: dict[str, bytes | None] = {
    "a folder": None,
    "nothing": b"",
    "a table": TABLE.encode(),
    "a short table": TABLE[:200].encode(),
    "a table of a spreadsheet": ("\ufeff" + TABLE.replace(",", ";")).encode(),
    "a table as UTF-16": TABLE.encode("utf-16"),
    "Parquet": b"PAR1\x15\x04\x15\xc0\xbb" + bytes(200),
    "a page": b"<!doctype html>\n<html><body class='x: y'>\n",
    "a list": b"- 1\n- 2\n",
    "a notebook": b'{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}',
    "a script": b"import arbd\n\n\ndef f(params):\n    return {'x': 1}\n",
    "a picture": b"\x89PNG\r\n\x1a\n" + bytes(64),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_a_file_that_is_no_job_is_told_in_one_line_with_its_name(arbctl: Arbctl, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "given"
    content = OTHERS[kind]
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    # Whoever reads a job does it by the same door.
    code, out, err = arbctl(("validate", "run", "submit")[len(kind) % 3], path)
    assert (code, out) == (2, "")
    assert err.startswith(f"arbctl: {path}"), err
    # A notebook has several fields that no job has, each of which is told.
    assert err.count("\n") == 1 or kind == "a notebook", err
    assert len(err) < 500 or kind == "a notebook"
    with pytest.raises(ArbdError, match=r"^\S*given"):
        arbd.Job.load(path)
