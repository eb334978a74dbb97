"""Makes records of a spool another version's: their schema number is changed, everything else and the checksums are good."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgpack

from arbd.spool.frames import encode_frame, scan_frames

Change = Callable[[dict[Any, Any], str], dict[Any, Any]]


def _numbered(number: Any) -> Change:
    return lambda record, key: {**record, key: number(record[key])}


# What a record says of its schema, by how it differs from what this version writes. All keep a record's length: some
# files tell by it where the next one stands.
CHANGES: Mapping[str, Change] = {
    "a later one": _numbered(lambda version: version + 7),
    "zero": _numbered(lambda version: 0),
    "no number": _numbered(lambda version: True),
    "missing": lambda record, key: {("_" + name[1:] if name == key else name): v for name, v in record.items()},
}


def restamp(path: Path, change: Change, *, key: str = "v", frame: int = 0) -> None:
    """Change the schema number of the record in one frame of a file."""
    data = path.read_bytes()
    found = scan_frames(data).frames[frame]
    record = msgpack.unpackb(found.payload, strict_map_key=False)
    new = encode_frame(msgpack.packb(change(record, key)))
    assert len(new) == found.end - found.offset
    path.write_bytes(data[: found.offset] + new + data[found.end :])


def restamp_archive(path: Path, change: Change) -> None:
    """Change the schema number of an archive, which is a text there."""
    with tarfile.open(path) as tar:
        told, key = dict(tar.pax_headers), "arbd.v"
        members = [(member, tar.extractfile(member)) for member in tar]
        number = change({key: int(told.pop(key))}, key)
        headers = {**told, **{name: str(value) for name, value in number.items()}}
        with tarfile.open(path.with_suffix(".new"), "w:gz", pax_headers=headers) as new:
            for member, file in members:
                member.pax_headers = {}
                new.addfile(member, file)
    path.with_suffix(".new").replace(path)
