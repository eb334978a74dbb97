"""Machine code of the engine's loops: kept as object files, which LLVM alone loads, and called without Numba.

Importing Numba, and having it read functions from its own cache, takes more processor time than all of an everyday job.
What it compiled is loaded here in a few milliseconds. Numba is imported where a loop has not been compiled yet, or cannot
be kept because it calls what only Numba has.

The name of each file carries a digest of the sources, the versions and the processor that it was made for: code of
another version is never run, in whatever folder it lies.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import importlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import filelock

from arbd.atomic_file import replace_file
from arbd.installed import version_of
from arbd.paper.arguments import Kind, ObjectCode, flat, words
from arbd.paper.code_cache import sources_once, trusted_cache

# Functions that Numba has of its own, and the system's of the same bits.
SAME_BITS = {"numba_nextafter": "nextafter"}
# What object files may call, beside what LLVM makes instructions of: the libraries of C and of mathematics have it.
CALLABLE = frozenset(SAME_BITS) | {
    "acos", "asin", "atan", "atan2", "cos", "exp", "exp2", "expm1", "floor", "fmod", "log", "log1p", "log10", "log2",
    "memcpy", "memmove", "memset", "pow", "sin", "sqrt", "tan",
}  # fmt: skip
# Settings that change what Numba makes, or whether it is kept.
_SETTINGS = ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES", "NUMBA_OPT", "ARBD_NUMBA_PUBLIC_WAY")
_DIGEST_BYTES = 32


class Loop:
    """A function `name` of a module, compiled for arguments of these kinds and called without the interpreter lock.

    It returns nothing or, where it `tells`, a truth; what else it finds it writes into arrays. Of several processes that
    need a loop that is not compiled yet, one compiles it; the others wait for it and read what it wrote.
    """

    def __init__(self, module: str, name: str, *kinds: Kind, tells: bool = False) -> None:
        self.module, self.name, self.kinds, self.tells = module, name, kinds, tells
        self._call: Callable[..., Any] | None = None

    def __call__(self, *arguments: Any) -> bool:
        """Call it, where it is compiled by then."""
        if self._call is None:
            self.ready()
        assert self._call is not None
        return bool(self._call(*arguments))

    def ready(self, compiling: Callable[[], object] | None = None) -> None:
        """Have the machine code ready. Whoever has to compile it, or to wait for that, calls `compiling` first."""
        if self._call is not None:
            return
        if os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0"):
            self._call = self.source()
            return
        path = trusted_cache() / f"{self.name}-{made_for()}.code"
        found = _read(path)
        if found is None:
            if compiling is not None:
                compiling()
            with filelock.FileLock(path.with_suffix(".lock")):
                found = _read(path) or self._compiled(path)
        # What cannot be kept is Numba's to compile and to keep.
        self._call = self._loaded(found) if found.code else self.source()

    def source(self) -> Any:
        """The function as Numba has it."""
        return getattr(importlib.import_module(self.module), self.name)

    def _compiled(self, path: Path) -> ObjectCode:
        from arbd.paper.compiled import compile_with_numba, object_code  # noqa: PLC0415 - Numba

        made = object_code(self.source().py_func, self.kinds, CALLABLE, tells=self.tells)
        if made is None:
            compile_with_numba(self.source(), self.kinds)
            made = ObjectCode("", b"")
        content = made.symbol.encode() + b"\0" + made.code
        replace_file(path, hashlib.sha256(content).digest() + content, 0o600)
        return made

    def _loaded(self, made: ObjectCode) -> Callable[..., bool]:
        engine = _engine(made.code)
        prototype = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, *words(self.kinds))
        function = prototype(engine.get_function_address(made.symbol))

        def call(*arguments: Any, _engine: Any = engine) -> bool:
            # In Numba's own convention: a place for the result, one for an exception, then the arguments.
            result, exception = ctypes.c_uint64(0), ctypes.c_void_p()
            status = function(ctypes.byref(result), ctypes.byref(exception), *flat(self.kinds, arguments))
            assert status in (0, RETURNED_NONE), f"{self.name} ended with {status}"
            return self.tells and result.value & 0xFF != 0

        return call


# The status of a function that returned None.
RETURNED_NONE = -2


@functools.cache
def made_for() -> str:
    """A digest of what machine code depends on: its sources, the compiler, the processor, and Numba's settings."""
    llvm = _llvm()
    parts = [
        sources_once(), version_of("numba", may_import=False), version_of("llvmlite", may_import=False), llvm.get_process_triple(),
        llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten(), *map(os.environ.get, _SETTINGS),
    ]  # fmt: skip
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


@functools.cache
def _llvm() -> Any:
    import llvmlite.binding as llvm  # noqa: PLC0415 - only who runs machine code needs it

    with suppress(RuntimeError):  # of later versions, which need no such call
        llvm.initialize()
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    system = ctypes.CDLL(None)
    for name, same in SAME_BITS.items():
        llvm.add_symbol(name, ctypes.cast(getattr(system, same), ctypes.c_void_p).value)
    return llvm


def _engine(code: bytes) -> Any:
    llvm = _llvm()
    machine = llvm.Target.from_default_triple().create_target_machine()
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return engine


def _read(path: Path) -> ObjectCode | None:
    """What was kept; None where there is nothing, or it is not what was written."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    digest, content = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    if hashlib.sha256(content).digest() != digest:
        return None
    symbol, _, code = content.partition(b"\0")
    return ObjectCode(symbol.decode(), code)
