"""What arbd writes and shows: caches of this user alone, outputs that follow nobody's links, texts without what is not seen."""

from __future__ import annotations

import hashlib
import itertools
import os
import stat
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbd.atomic_file import whole_file
from arbd.daemon.host.config import load_config
from arbd.errors import UsageError
from arbd.mirror.settings import RedisSettings
from arbd.mirror.state import StateManager
from arbd.paper.market.cache import load_market
from arbd.private_folder import private_folder
from arbd.results.csv_writer import _text, plain_text
from arbd.terminal_text import escape_control_chars, escape_line

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to other users")
STRANGER = 65_534


def quotes(folder: Path) -> Path:
    path = folder / "q.csv"
    path.write_text("ts_s,bid_a,ask_a,bid_b,ask_b\n1735689600,10,11,10,11\n1735689601,10,11,10,11\n")
    return path


# caches


@pytest.mark.parametrize("mask", [0o000, 0o002, 0o022, 0o077])
def test_a_cache_is_made_for_this_user_alone_under_every_umask(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        load_market(quotes(tmp_path), tmp_path / "new" / "cache")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new" / "cache").stat().st_mode) == 0o700
    assert not (tmp_path / "new").stat().st_mode & 0o022


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o711, 0o700])
def test_a_cache_that_others_can_only_read_becomes_private(tmp_path: Path, mode: int) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(mode)
    assert stat.S_IMODE(private_folder(tmp_path / "cache").stat().st_mode) == 0o700


@AS_ROOT
@pytest.mark.parametrize("where", ["itself", "above", "far above"])
@pytest.mark.parametrize("how", ["all may write", "a group may write", "another's"])
def test_a_cache_that_somebody_else_could_have_filled_is_refused(tmp_path: Path, where: str, how: str) -> None:
    cache = tmp_path / "far" / "near" / "cache"
    cache.mkdir(parents=True)
    bad = {"itself": cache, "above": cache.parent, "far above": cache.parent.parent}[where]
    if how == "another's":
        os.chown(bad, STRANGER, STRANGER)
    else:
        os.chown(bad, 0, STRANGER)
        bad.chmod(0o777 if how == "all may write" else 0o775)
    with pytest.raises(UsageError, match="the cache .*cache_dir"):
        load_market(quotes(tmp_path), cache)
    if where != "itself" and how != "another's":
        bad.chmod(0o1777)
        assert private_folder(cache) == cache


MARKER = """
import os, sys
from pathlib import Path
os.environ["NUMBA_CACHE_DIR"] = sys.argv[1]
from arbd.errors import ArbdError
from arbd.paper.kernel.parameter_sets import build_index
from arbd.paper.market.prepared import prepare
from arbd.paper.market.quotes import build_quotes
import numpy as np
column = np.ones(3)
quotes = build_quotes({"ts_ns": np.arange(3), "bid_a": column, "ask_a": column, "bid_b": column, "ask_b": column}, "x")[0]
try:
    build_index(prepare(quotes).series(0.0, carry_over_gaps=False))
except ArbdError as error:
    print("refused", error)
"""


@AS_ROOT
def test_machine_code_that_a_group_could_have_put_there_is_not_loaded(tmp_path: Path) -> None:
    import subprocess

    folder = tmp_path / "code"
    warm = subprocess.run([sys.executable, "-c", MARKER, str(folder)], capture_output=True, text=True, check=True)
    assert "refused" not in warm.stdout
    # Whoever may write here may have put other code there, with the right digest; this one would end the process.
    codes = list(folder.rglob("*.code"))
    assert codes
    for code in codes:
        content = b"symbol\0" + b"no object file"
        code.write_bytes(hashlib.sha256(content).digest() + content)
    os.chown(folder, 0, STRANGER)
    folder.chmod(0o775)
    done = subprocess.run([sys.executable, "-c", MARKER, str(folder)], capture_output=True, text=True, check=True)
    assert "refused the cache" in done.stdout


# outputs


@AS_ROOT
@pytest.mark.parametrize("owner", [0, STRANGER])
@pytest.mark.parametrize("folder_mode", [0o1777, 0o777, 0o755])
@pytest.mark.parametrize("which", ["the file", "a folder above", "a chain"])
def test_output_of_root_follows_no_link_of_somebody_else(
    tmp_path: Path, owner: int, folder_mode: int, which: str
) -> None:
    shared, private = tmp_path / "shared", tmp_path / "private"
    shared.mkdir()
    private.mkdir()
    shared.chmod(folder_mode)
    victim = private / "victim.conf"
    victim.write_text("precious\n")
    link = shared / "link"
    link.symlink_to(private if which == "a folder above" else victim)
    os.lchown(link, owner, owner)
    output = link / "victim.conf" if which == "a folder above" else link
    if which == "a chain":
        (shared / "mine").symlink_to("link")
        output = shared / "mine"
    if owner:
        with (
            pytest.raises(UsageError, match="is a link that another user .uid 65534. put there"),
            whole_file(output) as new,
        ):
            new.write_text("replaced\n")
        assert victim.read_text() == "precious\n"
    else:
        with whole_file(output) as new:
            new.write_text("replaced\n")
        assert victim.read_text() == "replaced\n"


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o664, 0o400])
@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_a_file_that_is_written_anew_keeps_its_mode_and_is_private_meanwhile(
    tmp_path: Path, mode: int, mask: int
) -> None:
    path = tmp_path / "out.csv"
    path.write_text("before")
    path.chmod(mode)
    before = os.umask(mask)
    try:
        with whole_file(path) as new:
            assert stat.S_IMODE(new.stat().st_mode) & ~mode & 0o077 == 0
            new.write_text("after")
        with whole_file(tmp_path / "fresh.csv") as new:
            new.write_text("after")
    finally:
        os.umask(before)
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("after", mode)
    assert stat.S_IMODE((tmp_path / "fresh.csv").stat().st_mode) == 0o666 & ~mask


@AS_ROOT
def test_a_file_that_root_writes_anew_stays_its_owners(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_text("before")
    os.chown(path, STRANGER, STRANGER)
    with whole_file(path) as new:
        new.write_text("after")
    assert (path.stat().st_uid, path.stat().st_gid) == (STRANGER, STRANGER)


# texts


UNSEEN = [
    chr(code)
    for code in range(sys.maxunicode + 1)
    if unicodedata.category(chr(code)) in ("Cc", "Cf", "Cs", "Zl", "Zp") and chr(code) not in "\n\t"
] + list("\u034f\u115f\u1160\u17b4\u17b5\u180b\u3164\ufe0f\uffa0\U000e0100")


def test_no_character_that_is_not_seen_comes_to_a_terminal() -> None:
    for character in UNSEEN:
        for shown in (escape_control_chars(f"a{character}b"), escape_line(f"a{character}b")):
            assert character not in shown
            assert shown.startswith("a\\u") and shown.endswith("b")
    for character in "é\u0301한漢😀\ufffdא":
        assert escape_line(f"a{character}b") == f"a{character}b"


@given(st.text(alphabet=st.sampled_from([*"'=+-@;|% \t\r\n\"x1,", "\u200b", "\uff1d", "\ufeff"]), max_size=8))
def test_texts_of_tables_come_back_as_they_were(text: str) -> None:
    cell = _text(text)
    plain = plain_text(cell)
    assert (cell if plain is None else plain) == text


@pytest.mark.parametrize("sign", list("=+-@|%\uff1d\uff0b\uff0d\uff20\t\r\n"))
@pytest.mark.parametrize("before", ["", " ", "\u200b", '"', "\u00a0", "\ufeff", "''", '" \u200b'])
@pytest.mark.parametrize("separator", ["", "x;", "x\t", "x\n", "x\r"])
def test_no_text_of_a_table_begins_a_cell_as_a_formula_does(sign: str, before: str, separator: str) -> None:
    text = f"{separator}{before}{sign}1+1"
    cell = _text(text)
    for begun in itertools.chain([cell], *(cell.split(mark)[1:] for mark in (";", "\t", "\r", "\n"))):
        assert not begun.lstrip(' "\u200b\u00a0\ufeff').startswith(tuple("=+-@|%\uff1d\uff0b\uff0d\uff20"))
    plain = plain_text(cell)
    assert (cell if plain is None else plain) == text


# passwords

URLS = [
    f"{scheme}{credentials}{place}"
    for scheme in ("redis://", "rediss://", "unix://", "http://", "", "redis:/")
    for credentials in ("u:hunter2@", ":hunter2@", "hunter2@", "u:hun/hunter2@", "u:a@hunter2@", "u:hunter2?x@", "u:hunter2#@", ":[hunter2@")
    for place in ("h/0", "h:99999/0", "h:x/0", "[::1", "[::1]:6379/0", "h/0?socket_timeout=abc", "127.0.0.1:1/zero", "h/0?password=hunter2")
]  # fmt: skip


@pytest.mark.parametrize("form", ["{{redis: {{url: '{}'}}}}", "{{redis: '{}'}}", "{{redis: {{url: ['{}']}}}}", "'{}'", "['{}']", "{{redis: {{env: {{x: '{}'}}}}}}"])  # fmt: skip
def test_no_form_of_a_wrong_setting_tells_a_password(tmp_path: Path, form: str) -> None:
    for url in URLS:
        path = tmp_path / "arbd.yaml"
        path.write_text("mirror: " + form.format(url) + "\n")
        try:
            told = repr(load_config(path, {}))
        except UsageError as error:
            told = str(error)
        assert "hunter2" not in told, (url, told)


def test_no_url_that_redis_does_not_take_tells_a_password() -> None:
    for url in URLS:
        settings = RedisSettings(url=url)
        told = f"{settings!r} {settings.shown_url}"
        try:
            StateManager.connect(settings).close()
        except UsageError as error:
            told += str(error)
        assert "hunter2" not in told, (url, told)
