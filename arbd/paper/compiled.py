"""How loops are compiled, and where the machine code is kept.

Numba's cache looks only at the file of the function it compiles: a change in what that function calls, or in
the constants it was compiled with, would go unseen. So the folder of the cache carries a digest of all of this
package's sources, and code of another version is never run.
"""

from __future__ import annotations

import functools
import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import filelock
import llvmlite.binding
import numba
import numpy as np
import numpy.typing as npt

from arbd.private_folder import private_folder

F = TypeVar("F", bound=Callable[..., Any])
# Versions of Numba with which functions were compiled as parts of their callers: the first and the last, minor ones.
KNOWN = (0, 63), (0, 68)
# Where this is set, Numba's public way is taken with any version: it takes longer, and gives the same bits.
PUBLIC_WAY = "ARBD_NUMBA_PUBLIC_WAY"


def sources_digest() -> str:
    """Of every source file of the paper engine."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def use_cache(folder: Path) -> None:
    """Keep machine code below `folder`; `$NUMBA_CACHE_DIR`, where set, goes before. Call before anything compiles."""
    if not os.environ.get("NUMBA_CACHE_DIR"):
        setattr(numba.config, "CACHE_DIR", str(folder / f"numba-{sources_digest()}"))  # noqa: B010 - it has no stubs


def trusted_cache() -> Path:
    """The folder of machine code, once it is known to be this user's alone.

    Numba runs what it finds there. UsageError when somebody else could have put it there, or the folder cannot be made.
    """
    return _private(str(getattr(numba.config, "CACHE_DIR")))  # noqa: B009 - it has no stubs


@functools.cache
def _private(folder: str) -> Path:
    return private_folder(Path(folder))


def compile_once(load: Callable[[], object], of: str, compiling: Callable[[], object] | None = None) -> None:
    """Call `load`, which compiles or reads the machine code `of` something; of many processes, one at a time compiles.

    The others wait for it and then read what it wrote. A process that dies meanwhile is followed by the next. Whoever has
    to compile, or to wait for that, calls `compiling` first.
    """
    done = trusted_cache() / f"{_build()}-{of}.done"
    if not done.exists():
        if compiling is not None:
            compiling()
        with filelock.FileLock(done.parent / ".compile.lock"):
            if not done.exists():
                load()
                done.touch()
                return
    load()


@functools.cache
def _build() -> str:
    """Of all for which Numba keeps machine code apart: sources and where they are, versions, and the processor."""
    parts = [numba.__version__, sys.implementation.cache_tag, llvmlite.binding.get_host_cpu_name()]
    parts.append(llvmlite.binding.get_host_cpu_features().flatten())
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        found = path.stat()
        parts.append(f"{path} {found.st_mtime_ns} {found.st_size}")
    return f"{sources_digest()}-{hashlib.sha256(chr(0).join(map(str, parts)).encode()).hexdigest()[:16]}"


def as_argument(values: npt.NDArray[Any], kind: type) -> npt.NDArray[Any]:
    """The one form in which compiled loops get arrays that they read: in a row, aligned, native, not to be written to.

    Numba compiles a function once for every combination of types, and whether an array may be written to, and how it
    lies in memory, are part of its type. What comes from a mapped file, a list or a broadcast value is the same here.
    Copies only what is laid out otherwise. Arrays that a loop writes to are fresh ones (`np.empty`).
    """
    plain = np.require(values, dtype=kind, requirements=["C", "A"]).view(np.ndarray)
    plain.flags.writeable = False
    return plain


def jit(function: F) -> F:
    """Compile without the interpreter lock, with IEEE arithmetic in the order written, cached on disk.

    UsageError when the cache is not this user's alone: Numba makes its folders here, and later runs what is in them.
    """
    trusted_cache()
    compile_: Any = numba.njit(cache=True, nogil=True, error_model="numpy")
    compiled: F = compile_(function)
    return compiled


def _part_compiler() -> tuple[type | None, str]:
    """What compiles functions as parts of their callers, or why there is none with this Numba.

    By what is inside of Numba, which a later one may change without a word: so only with versions that were tried, where
    it still can be imported, and where a trial of it works; else in Numba's public way.
    """
    if os.environ.get(PUBLIC_WAY):
        return None, f"{PUBLIC_WAY} is set"
    version = tuple(int(part) for part in numba.__version__.split(".")[:2])
    if not KNOWN[0] <= version <= KNOWN[1]:
        first, last = (".".join(map(str, each)) for each in KNOWN)
        return None, f"parts were tried with Numba {first} to {last}, this is {numba.__version__}"
    try:
        from arbd.paper.numba_parts import PartCompiler  # noqa: PLC0415 - it may be gone
    except (ImportError, AttributeError) as error:
        return None, f"{type(error).__name__}: {error}"
    return PartCompiler, ""


def why_public_way() -> str:
    """Why functions cannot be compiled as parts of their callers with this Numba; empty when they are. Compiles a trial."""
    compiler, why = _part_compiler()
    if compiler is None:
        return why
    from arbd.paper.numba_parts import fault  # noqa: PLC0415 - it may be gone

    return fault()


def jit_part(function: F) -> F:
    """`jit` for a function that only compiled code calls: it is compiled as a part of its callers."""
    return _part(function)


def jit_small(function: F) -> F:
    """`jit_part` for a small function that is called at every event: its code stands wherever it is called."""
    return _part(function, forceinline=True)


def _part(function: F, **options: bool) -> F:
    njit: Any = numba.njit
    compiler, _ = _part_compiler()
    if compiler is not None:
        options |= {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
        compiled: F = njit(error_model="numpy", pipeline_class=compiler, **options)(function)
        return compiled
    public: F = njit(error_model="numpy")(function)
    return public


if not getattr(numba.config, "CACHE_DIR", ""):
    use_cache(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "arbd")
