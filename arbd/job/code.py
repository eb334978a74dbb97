"""Which code computes: arbd's own, Python's and NumPy's versions, and the modules of an objective, each by its digest.

Owns the names of these parts and the comparison of what a session was computed with and what this host has. Keeps I5:
two hosts with the same parts compute the same rows.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import platform
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import arbd
from arbd.errors import DataError
from arbd.installed import recorded_hashes
from arbd.job.modules import locate
from arbd.named_file import MAX_PROGRAM_BYTES, open_named
from arbd.values import dataclass

if TYPE_CHECKING:
    from arbd.job.spec import JobSpec

ENGINE, PYTHON, NUMPY = "arbd", "python", "numpy"
MODULE, COMMAND = "python:", "command:"
# Before what an interpreter of its own, and packages that it loaded, say of their versions.
INTERPRETER = "interpreter "
# The packages of arbd whose code decides parameters and metrics.
COMPUTING = ("objective", "paper", "search")
# And what else makes the markets that they compute on.
MARKETS = ("job/validation.py", "validation/surrogate.py")
SHORT = 12
REMEDY = (
    "copy the same version to every host, or go on with another: `arbctl status SESSION` names the code so far, and "
    "`arbctl retry SESSION --code THAT` gives it up"
)


@dataclass(frozen=True, slots=True)
class Engine:
    """arbd's own computing code: one digest over all of its files, and that of each, by its path in the package."""

    digest: str
    files: Mapping[str, str]


def read_engine(root: Path = Path(arbd.__file__).parent) -> Engine:
    """The computing code as it is on the disk now; a few milliseconds."""
    files = {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in [
            *(path for package in COMPUTING for path in sorted((root / package).rglob("*.py"))),
            *(path for path in map(root.joinpath, MARKETS) if path.is_file()),
        ]
    }
    whole = hashlib.sha256()
    for name, digest in files.items():
        whole.update(f"{name}\0{digest}\n".encode())
    return Engine(whole.hexdigest(), files)


@functools.cache
def engine() -> Engine:
    """The computing code of this process, as it was when this was first called: a process asks before it computes."""
    return read_engine()


@functools.cache
def base_parts() -> Mapping[str, str]:
    """What every session depends on, whatever its objective is; as of when it was first asked for, as `engine`."""
    import numpy  # noqa: PLC0415 - whoever asks computes with it; `status` does not

    return {ENGINE: engine().digest, PYTHON: platform.python_version(), NUMPY: numpy.__version__}


def module_digest(path: Path) -> str:
    """SHA-256 of the file of a module or program; DataError when it is no regular file, or cannot be read."""
    with open_named(path, MAX_PROGRAM_BYTES) as file:
        return file.digest()


def command_parts(spec: JobSpec) -> dict[str, str]:
    """The part that the program of a command is, as its file is now."""
    part = f"{COMMAND}{spec.objective.target[0]}"
    path = _file_of(part, ())
    return {} if path is None else {part: module_digest(path)}


def expected_parts(spec: JobSpec) -> dict[str, str]:
    """The parts that a job was accepted with."""
    return {**spec.code, **{name: digest for name, digest in spec.digests.items() if is_code(name)}}


def with_parts(spec: JobSpec, parts: Mapping[str, str]) -> JobSpec:
    """The job as if it had been accepted with other parts."""
    kept = {name: digest for name, digest in spec.digests.items() if not is_code(name)}
    return replace(spec, digests={**kept, **{name: digest for name, digest in parts.items() if is_code(name)}})


def is_code(name: str) -> bool:
    """True for the digest of a module or a program, among those of a job."""
    return name.startswith((MODULE, COMMAND))


def digest_of(parts: Mapping[str, str]) -> str:
    """What rows carry of the code that made them."""
    lines = "".join(f"{name}\0{digest}\n" for name, digest in sorted(parts.items()))
    return hashlib.sha256(lines.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Difference:
    """A part that is not what it should be, in words; `file` is this host's."""

    part: str
    text: str
    file: Path | None = None


def differences(
    expected: Mapping[str, str],
    here: Mapping[str, str],
    folders: Sequence[Path],
    engine_files: Mapping[str, str] | None = None,
) -> list[Difference]:
    """What this host has otherwise than expected.

    `here` are parts that are known to be here; of a module that is not among them the file counts, and one that has no
    file here is none that differs. `engine_files` are those of the expected code of arbd's own, as far as known.
    """
    found: list[Difference] = []
    for part, digest in sorted(expected.items()):
        path = _file_of(part, folders)
        has = here.get(part)
        if has is None and path is not None:
            with contextlib.suppress(DataError):
                # Who may not read it cannot tell.
                has = module_digest(path)
        if has is not None and has != digest:
            found.append(Difference(part, _told(part, digest, has, path, engine_files), path))
    return found


def _file_of(part: str, folders: Sequence[Path]) -> Path | None:
    if part.startswith(COMMAND):
        program = shutil.which(part.removeprefix(COMMAND))
        return None if program is None else Path(program)
    name = part.removeprefix(MODULE)
    return locate(name, folders).get(name) if part.startswith(MODULE) else None


def _told(part: str, digest: str, has: str, path: Path | None, engine_files: Mapping[str, str] | None) -> str:
    if part in (PYTHON, NUMPY):
        name = {PYTHON: "Python", NUMPY: "NumPy"}[part]
        return f"{name} is {has} here, and {digest} where the session began"
    if part.startswith(INTERPRETER):
        return (
            f"{part.removeprefix(INTERPRETER)} of the interpreter is {has} here, and {digest} where the session began"
        )
    if part == ENGINE:
        names = ", ".join(_other_files(engine_files or {})) or "its files"
        return f"arbd's own code here ({has[:SHORT]}) is not what the session began with ({digest[:SHORT]}): {names}"
    where = f"{path} on this host" if path is not None else f"{part} of this process"
    return (
        f"{where} is not the file that the job was accepted with or its session began with "
        f"({part}, SHA-256 {has[:SHORT]}, expected {digest[:SHORT]})"
    )


def _other_files(expected: Mapping[str, str]) -> Iterator[str]:
    """Files of arbd's own that differ from those of a session; `expected` has shortened digests."""
    here = engine().files
    names = [name for name in sorted({*expected, *here}) if here.get(name, "")[:SHORT] != expected.get(name, "")]
    if expected:
        yield from (f"arbd/{name}" for name in names[:5])
        if len(names) > 5:
            yield f"and {len(names) - 5} more"


def altered_since_build() -> list[str]:
    """Computing files that are not what the installed package was built with; empty also where no record says."""
    told = recorded_hashes("arbd")
    return [
        f"arbd/{name}"
        for name, digest in engine().files.items()
        if f"arbd/{name}" in told and told[f"arbd/{name}"] != _record_form(digest)
    ]


def _record_form(digest: str) -> str:
    return base64.urlsafe_b64encode(bytes.fromhex(digest)).rstrip(b"=").decode()
