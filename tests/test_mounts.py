"""The mount table, with every name that a folder can have."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbd.cli.doctor import filesystem
from arbd.mounts import filesystem_type, mount_of

TABLE = rb"""/dev/sda1 / ext4 rw 0 0
nas:/export /mnt/nas nfs4 rw 0 0
vol /mnt/my\040vol fuse.glusterfs rw 0 0
tmpfs /mnt/nas/local tmpfs rw 0 0
old /mnt/twice nfs rw,nolock 0 0
new /mnt/twice nfs4 ro,soft 0 0
a line that is too short
"""
ESCAPED = b" \t\n\\#"


def escaped(point: bytes) -> bytes:
    """A name as the kernel writes it."""
    return b"".join(b"\\%03o" % byte if byte in ESCAPED else bytes([byte]) for byte in point)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "mounts"
    path.write_bytes(TABLE)
    return path


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var", "ext4"),
        ("/mnt/nas/spool", "nfs4"),
        ("/mnt/my vol/x", "fuse.glusterfs"),
        ("/mnt/nas/local/x", "tmpfs"),
        ("/mnt/nasty", "ext4"),
        ("/mnt/twice/x", "nfs4"),
    ],
)
def test_the_filesystem_of_a_path_is_that_of_its_nearest_mount(table: Path, path: str, kind: str) -> None:
    assert filesystem_type(Path(path), table) == kind


def test_options_are_those_of_the_mount_that_is_seen(table: Path) -> None:
    found = mount_of(Path("/mnt/twice"), table)
    assert found is not None
    assert (found.options, found.is_nfs) == ({"ro", "soft"}, True)


def test_a_table_that_names_nothing_is_told(tmp_path: Path) -> None:
    empty = tmp_path / "mounts"
    empty.write_bytes(b"")
    assert (mount_of(tmp_path, empty), filesystem_type(tmp_path, empty)) == (None, "")
    assert filesystem.mount(tmp_path, empty).verdict == "warning"


# What a folder may be called: anything but a slash and NUL, in any encoding.
names = st.binary(min_size=1, max_size=40).filter(lambda name: not set(name) & {0, 47} and name not in (b".", b".."))


@given(name=names)
def test_a_mount_point_of_any_name_is_found_and_judged(tmp_path_factory: pytest.TempPathFactory, name: bytes) -> None:
    # The folder itself need not exist, so that names which this filesystem refuses are tried too.
    base = tmp_path_factory.getbasetemp() / "mounts-of-any-name"
    base.mkdir(exist_ok=True)
    point = base / os.fsdecode(name)
    table = base / ".table"
    table.write_bytes(
        b"/dev/x / ext4 rw 0 0\nserver:/a " + escaped(os.fsencode(point)) + b" nfs rw,nolock,vers=3 0 0\n"
    )
    assert filesystem_type(point / "spool", table) == "nfs"
    assert filesystem_type(base, table) == "ext4"
    finding = filesystem.mount(point, table)
    assert (finding.verdict, finding.found) == ("broken", "nfs with nolock")
