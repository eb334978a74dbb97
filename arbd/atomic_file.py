"""Files and folders that appear whole and durable, by rename, or not at all. Everything outside of a spool is so written.

`whole_file` is for a file that a user names for output: links are followed, but for those that somebody else put there
(`_refuse_foreign_links`); a file that is there keeps its mode; what is no regular file (a pipe, a device) is written into,
never replaced. `replace_file` and `place_folder` are for files of arbd's own. In a spool
`arbd.spool.files` does the same through the calls that the simulation can make fail.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from arbd.errors import UsageError

MAX_LINKS = 40


def check_output(output: Path) -> Path:
    """Where `output` leads, after links; UsageError when no file can be written there. Nothing is made."""
    _refuse_foreign_links(output)
    if _is_special(output) and not output.is_dir():
        # What /dev/stdout leads to, a pipe for example, has no name of its own.
        return output
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
def whole_file(output: Path, suffix: str = ".tmp", *, replace: bool = True) -> Iterator[Path]:
    """A new name to write to, which becomes `output` when the block ends well; durable then.

    `suffix` is for writers that choose a format by the name. Without `replace`, a file that has the name by then stays.
    UsageError when no file can be written there, or the system refuses.
    """
    target = check_output(output)
    special = _is_special(target)
    folder = Path(tempfile.gettempdir()) if special else target.parent
    temporary = folder / f".{target.name}.{secrets.token_hex(6)}{suffix}"
    before = None if special else _look(target)
    try:
        # What is not for all is not shown to all while it is written.
        private = special or before is not None
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600 if private else 0o666))
        yield temporary
        if before is not None:
            _keep_owner_and_mode(temporary, before)
        if special:
            with temporary.open("rb") as source, target.open("wb") as sink:
                shutil.copyfileobj(source, sink)
        elif replace:
            _place(temporary, target)
        else:
            _place_beside(temporary, target)
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.filename is not None and Path(error.filename) not in (temporary, target):
            raise
        raise UsageError(f"{output} cannot be written: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def _refuse_foreign_links(output: Path) -> None:
    """UsageError where a link on the way is somebody else's, who could have the file of anybody else overwritten.

    For root that is any link of another user; for others one in a folder that all may write to (as the kernel has it
    with protected_symlinks).
    """
    me = os.geteuid()
    place, todo, links = "/", [*reversed(os.path.abspath(output).split("/"))], 0  # noqa: PTH100 - links stay
    while todo:
        part = todo.pop()
        if part in ("", "."):
            continue
        if part == "..":
            place = os.path.dirname(place)  # noqa: PTH120
            continue
        name = os.path.join(place, part)  # noqa: PTH118
        found = _look(Path(name), follow=False)
        if found is None or not stat.S_ISLNK(found.st_mode):
            place = name
            continue
        folder = Path(place).stat()
        shared = bool(folder.st_mode & stat.S_ISVTX and folder.st_mode & stat.S_IWOTH)
        if found.st_uid not in (0, me) and (me == 0 or (shared and found.st_uid != folder.st_uid)):
            raise UsageError(
                f"{output} is not written: {name} is a link that another user (uid {found.st_uid}) put there; name the "
                "file that you mean, or remove the link"
            )
        links += 1
        if links > MAX_LINKS:
            return  # the system says so where it is opened
        target = str(Path(name).readlink())
        place = "/" if target.startswith("/") else place
        todo += reversed(target.split("/"))


def _look(path: Path, *, follow: bool = True) -> os.stat_result | None:
    try:
        return path.stat(follow_symlinks=follow)
    except OSError:
        return None


def _keep_owner_and_mode(new: Path, before: os.stat_result) -> None:
    fd = os.open(new, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        now = os.fstat(fd)
        if (now.st_uid, now.st_gid) != (before.st_uid, before.st_gid):
            with contextlib.suppress(PermissionError):  # who is not root replaces a file of others by one of his own
                os.fchown(fd, before.st_uid, before.st_gid)
        os.fchmod(fd, stat.S_IMODE(before.st_mode) & 0o777)
    finally:
        os.close(fd)


def replace_file(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Write a file of arbd's own in place of what has the name, a link too; durable on return. OSError when it cannot be.

    `mode` is what the umask leaves of it, as for any new file.
    """
    temporary = path.parent / f".{path.name}.{secrets.token_hex(6)}.tmp"
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        _place(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def place_folder(new: Path, path: Path) -> None:
    """Give a folder of files its name, at which there is nothing yet; it and all below it are durable on return."""
    for file in sorted(new.rglob("*")):
        _sync(file)
    _place(new, path)


def _place(new: Path, path: Path) -> None:
    _sync(new)
    new.rename(path)
    _sync(path.parent)


def _place_beside(new: Path, path: Path) -> None:
    """As `_place`, where nothing has the name; UsageError where something has."""
    _sync(new)
    try:
        _link(new, path)
    except FileExistsError as error:
        raise UsageError(f"{path} is there already and is not overwritten: name another") from error
    _sync(path.parent)


def _link(new: Path, path: Path) -> None:
    try:
        os.link(new, path)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        # A filesystem without hard links: the name is taken first, by nobody else.
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC))
        new.rename(path)


def _is_special(target: Path) -> bool:
    try:
        return not stat.S_ISREG(target.stat().st_mode)
    except FileNotFoundError:
        return False


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
