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
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler

from arbd.private_folder import private_folder

F = TypeVar("F", bound=Callable[..., Any])


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


def compile_once(load: Callable[[], object], of: str) -> None:
    """Call `load`, which compiles or reads the machine code `of` something; of many processes, one at a time compiles.

    The others wait for it and then read what it wrote. A process that dies meanwhile is followed by the next.
    """
    folder = trusted_cache()
    build = f"{numba.__version__}-{sys.implementation.cache_tag}-{llvmlite.binding.get_host_cpu_name()}"
    done = folder / f"{sources_digest()}-{build}-{of}.done"
    if not done.exists():
        with filelock.FileLock(folder / ".compile.lock"):
            if not done.exists():
                load()
                done.touch()
                return
    load()


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


class _PartLibrary(JITCodeLibrary):
    """Code of a function that is a part of others: linked into its callers as it was written, and compiled there.

    Numba would optimise each function with all that is below it, and make machine code of it, once for every caller up
    to the first: that takes most of the time, and is thrown away.
    """

    def finalize(self) -> None:
        self._raise_if_finalized()  # type: ignore[no-untyped-call]
        for library in dict.fromkeys(self._linking_libraries):
            self._reload_init.update(library._reload_init)
            self._final_module.link_in(library._get_module_for_linking(), preserve=True)
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        """None: nothing but compiled code calls it."""
        del name
        self._ensure_finalized()  # type: ignore[no-untyped-call]
        return 0

    @property
    def codegen(self) -> Any:
        """What Numba asks to `set_env`."""
        return self

    def set_env(self, env_name: str, env: Any) -> None:
        """Nothing: what has no machine code has no environment."""


class _PartCompiler(Compiler):
    def __init__(self, *given: Any) -> None:
        super().__init__(*given)  # type: ignore[no-untyped-call]
        if self.state.library is None:
            self.state.library = _PartLibrary(self.state.targetctx.codegen(), "part")  # type: ignore[no-untyped-call]


def jit_part(function: F) -> F:
    """`jit` for a function that only compiled code calls: it is compiled as a part of its callers."""
    return _part(function)


def jit_small(function: F) -> F:
    """`jit_part` for a small function that is called at every event: its code stands wherever it is called."""
    return _part(function, forceinline=True)


def _part(function: F, **options: bool) -> F:
    njit: Any = numba.njit
    compiled: F = njit(
        error_model="numpy", pipeline_class=_PartCompiler, no_cpython_wrapper=True, no_cfunc_wrapper=True, **options
    )(function)
    return compiled


if not getattr(numba.config, "CACHE_DIR", ""):
    use_cache(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "arbd")
