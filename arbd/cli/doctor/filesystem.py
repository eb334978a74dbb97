"""Does the spool's filesystem do what arbd needs, as far as one host can tell?"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import stat
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from arbd.cli.doctor.finding import BROKEN, Finding, judged
from arbd.errors import SpoolError
from arbd.mounts import TABLE, mount_of
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout

FSYNCS = 20
SLOW_FSYNC_S = 0.05
LITTLE_BYTES, TOO_LITTLE_BYTES = 1 << 30, 100 << 20
_HOLD = """
import sys
from pathlib import Path
from arbd.spool.confined import spool_files
path = Path(sys.argv[1])
held = spool_files(path.parent).try_lock(path)
print("held" if held else "refused", flush=True)
sys.stdin.read()
"""


def examine(layout: SpoolLayout) -> Iterator[Finding]:
    """Everything, the mount first; stops where there is nothing to go on with."""
    try:
        layout.require_readable()
    except SpoolError as error:
        yield Finding("spool", BROKEN, str(error), "see above")
        return
    yield judged("spool", f"{layout.root} is a spool")
    yield mount(layout.root)
    yield permissions(layout.root)
    yield space(layout.root)
    files = layout.files()
    scratch = layout.root / f".doctor-{files.system.token(4)}"
    try:
        files.make_folder(scratch)
    except OSError as error:
        remedy = "give this user write permission, or run the doctor as the daemon's user"
        yield Finding("write", BROKEN, f"cannot write in {layout.root}: {error.strerror}", remedy)
        return
    try:
        for check in (locks, rename, exclusive_creation, fsync):
            try:
                yield check(files, scratch)
            except (OSError, SpoolError) as error:
                yield Finding(check.__name__.replace("_", " "), BROKEN, str(error), "check the mount and the server")
    finally:
        files.remove_tree(scratch)


def mount(root: Path, table: Path = TABLE) -> Finding:
    """The filesystem's type, and options that break what arbd relies on."""
    found = mount_of(root, table)
    if found is None:
        return judged("mount", f"{table} does not name the filesystem", warning=True, remedy="is /proc mounted?")
    kind, chosen, nfs = found.kind, found.options, found.is_nfs
    bad = sorted(
        o for o in chosen if nfs and (o == "nolock" or (o.startswith("local_lock=") and o != "local_lock=none"))
    )
    if bad:
        remedy = "remount without it: locks must reach the server"
        return judged("mount", f"{kind} with {', '.join(bad)}", broken=True, remedy=remedy)
    if "ro" in chosen:
        return judged("mount", f"{kind}, read-only", broken=True, remedy="remount it read-write")
    if nfs and ({"soft", "softerr"} & chosen):
        return judged(
            "mount", f"{kind} with soft", warning=True, remedy="mount with `hard`: soft gives errors up to programs"
        )
    if kind in ("cifs", "smb3", "tmpfs", "overlay", "9p", "vboxsf"):
        remedy = "use NFS 4, GlusterFS or a local disk for a spool that matters"
        return judged("mount", f"{kind}, which is not tested or does not last", warning=True, remedy=remedy)
    return judged("mount", kind)


def permissions(root: Path) -> Finding:
    """Who may drop what into the spool."""
    mode = root.stat().st_mode
    open_to_all = bool(mode & stat.S_IWOTH) and not mode & stat.S_ISVTX
    quoted = shlex.quote(str(root))
    remedy = f"chmod o-w {quoted}, or chmod +t {quoted}"
    return judged(
        "permissions", f"mode {stat.S_IMODE(mode):04o}, owner {root.stat().st_uid}", broken=open_to_all, remedy=remedy
    )


def space(root: Path) -> Finding:
    """Free bytes and inodes for a user who is not root."""
    about = os.statvfs(root)
    free, total = about.f_bavail * about.f_frsize, about.f_blocks * about.f_frsize
    inodes = about.f_favail / about.f_files if about.f_files else 1.0
    share = free / total if total else 1.0
    found = f"{free / 2**30:,.1f} GiB free ({100 * share:.0f} %), {100 * inodes:.0f} % of the inodes"
    return judged(
        "space", found, broken=free < TOO_LITTLE_BYTES, warning=free < LITTLE_BYTES or share < 0.02 or inodes < 0.02,
        remedy="make room: `arbctl purge SESSION --segments` shows what finished sessions would free",
    )  # fmt: skip


@contextlib.contextmanager
def _holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", _HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        try:
            assert process.stdout is not None
            if process.stdout.readline().strip() != "held":
                raise SpoolError(f"another process cannot take a lock in {path.parent}")
            yield process
        finally:
            process.kill()


def locks(files: Files, scratch: Path) -> Finding:
    """Another process's lock keeps this one out, and is free once that process was killed."""
    path = scratch / "lock"
    with _holder(path) as process:
        stolen = files.try_lock(path)
        if stolen is not None:
            stolen.release()
            return judged(
                "locks", "two processes hold one lock", broken=True, remedy="mount with working locks (flock)"
            )
        process.kill()
        process.wait()
        start = time.monotonic()
        with files.lock(path, 10.0):
            waited = time.monotonic() - start
    slow = waited > 1.0
    found = f"a lock excludes, and is free {1000 * waited:.0f} ms after its holder was killed"
    return judged("locks", found, warning=slow, remedy="a killed daemon's work waits that long")


def rename(files: Files, scratch: Path) -> Finding:
    """A name is replaced whole by rename."""
    target = scratch / "renamed"
    for content in (b"old", b"new"):
        files.publish(target, content)
    whole = files.read(target) == b"new" and files.names(scratch).count("renamed") == 1
    return judged(
        "rename",
        "replaces a file whole" if whole else "does not replace",
        broken=not whole,
        remedy="use another filesystem",
    )


def exclusive_creation(files: Files, scratch: Path) -> Finding:
    """O_EXCL refuses a name that is there."""
    files.appender(scratch / "exclusive").close()
    try:
        files.appender(scratch / "exclusive").close()
    except FileExistsError:
        return judged("O_EXCL", "a name is made once")
    return judged("O_EXCL", "one name was made twice", broken=True, remedy="use NFS 3 or newer, or another filesystem")


def fsync(files: Files, scratch: Path) -> Finding:
    """What it costs to make a record durable: the price of every claim."""
    path = scratch / "synced"
    times = []
    for _ in range(FSYNCS):
        start = time.perf_counter()
        files.append(path, b"x" * 100)
        times.append(time.perf_counter() - start)
    cost = statistics.median(times)
    found = f"an append with fsync takes {1000 * cost:.1f} ms ({1000 * max(times):.1f} ms at worst)"
    return judged("fsync", found, warning=cost > SLOW_FSYNC_S, remedy="raise chunk_target_s, so that fewer are needed")


def local_disk(cache_dir: Path) -> Finding:
    """Room for converted market data and compiled code."""
    folder = next(path for path in (cache_dir, *cache_dir.parents) if path.is_dir())
    free = shutil.disk_usage(folder).free
    found = f"{free / 2**30:,.1f} GiB free for {cache_dir}"
    return judged("cache", found, warning=free < LITTLE_BYTES, remedy="make room, or set cache_dir to another disk")
