"""A file that a user names for output: it appears whole, by rename, or is not touched.

Links are followed. What is no regular file (a pipe, a device) is written into, never replaced.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from arbd.errors import UsageError


def check_output(output: Path) -> Path:
    """Where `output` leads, after links; UsageError when no file can be written there. Nothing is made."""
    target = Path(os.path.realpath(output))
    if target.is_dir():
        raise UsageError(f"{output} is a folder: name a file in it")
    if not target.parent.is_dir():
        raise UsageError(f"{output} cannot be written, the folder {target.parent} does not exist: make it first")
    if _is_special(target):
        return target
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise UsageError(
            f"{output} cannot be written, the folder {target.parent} allows it to others only: name another"
        )
    return target


@contextlib.contextmanager
def whole_file(output: Path, suffix: str = ".tmp") -> Iterator[Path]:
    """A new name to write to, which becomes `output` when the block ends well; durable then.

    `suffix` is for writers that choose a format by the name. UsageError when no file can be written there, or
    the system refuses.
    """
    target = check_output(output)
    special = _is_special(target)
    folder = Path(tempfile.gettempdir()) if special else target.parent
    temporary = folder / f".{target.name}.{secrets.token_hex(6)}{suffix}"
    try:
        yield temporary
        if special:
            with temporary.open("rb") as source, target.open("wb") as sink:
                shutil.copyfileobj(source, sink)
        else:
            _sync(temporary, os.O_RDONLY)
            temporary.rename(target)
            _sync(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.filename is not None and Path(error.filename) not in (temporary, target):
            raise
        raise UsageError(f"{output} cannot be written: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def _is_special(target: Path) -> bool:
    try:
        return not stat.S_ISREG(target.stat().st_mode)
    except FileNotFoundError:
        return False


def _sync(path: Path, flags: int) -> None:
    fd = os.open(path, flags)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
