"""How loops are compiled. Where their machine code is kept, and how it is called: `arbd.paper.machine_code`.

To be imported where something is compiled, and nowhere else: it brings Numba.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeVar

import numba
from llvmlite import ir

from arbd.paper.arguments import Kind, ObjectCode, Scalar, words
from arbd.paper.code_cache import trusted_cache

F = TypeVar("F", bound=Callable[..., Any])
# Versions of Numba with which functions were compiled as parts of their callers: the first and the last, minor ones.
KNOWN = (0, 63), (0, 68)
# Where this is set, Numba's public way is taken with any version: it takes longer, and gives the same bits.
PUBLIC_WAY = "ARBD_NUMBA_PUBLIC_WAY"


def jit(function: F) -> F:
    """Compile without the interpreter lock, with IEEE arithmetic in the order written, cached on disk by Numba.

    Numba's cache looks only at the file of the function it compiles: a change in what that function calls, or in the
    constants it was compiled with, would go unseen. So its folder is that of this version of all sources. UsageError when
    the folder is not this user's alone: Numba runs what is in it.
    """
    setattr(numba.config, "CACHE_DIR", str(trusted_cache()))  # noqa: B010 - it has no stubs
    compile_: Any = numba.njit(cache=True, nogil=True, error_model="numpy")
    compiled: F = compile_(function)
    return compiled


def object_code(
    function: Callable[..., Any], kinds: Sequence[Kind], callable_: Collection[str], *, tells: bool
) -> ObjectCode | None:
    """A function compiled as `jit` does, for arguments of these kinds; None where it cannot be called without Numba.

    It calls nothing but `callable_`, refers to nothing outside, returns nothing or (`tells`) a truth, and gets its
    arguments as `words` says. What is inside of Numba is used as `_part_compiler` does.
    """
    if _part_compiler()[0] is None:
        return None
    # Arrays have no owner here, so none is counted.
    njit: Any = numba.njit
    compile_ = njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True, _nrt=False)
    dispatcher = compile_(function)
    arguments = tuple(_numba_type(kind) for kind in kinds)
    dispatcher.compile(arguments)
    made = dispatcher.overloads[arguments]
    module = made.library._final_module
    called = {each.name for each in module.functions if each.is_declaration and not each.name.startswith("llvm.")}
    if not called <= set(callable_) or any(each.is_declaration for each in module.global_variables):
        return None
    result = made.signature.return_type
    if result != (numba.types.boolean if tells else numba.types.none):
        return None
    place, exception, *given = made.target_context.call_conv.get_function_type(result, arguments).args
    assert isinstance(place, ir.PointerType) and isinstance(exception, ir.PointerType)
    if list(map(_word, given)) != words(kinds):
        return None
    return ObjectCode(made.fndesc.llvm_func_name, bytes(made.library._compiled_object))


def compile_with_numba(function: Any, kinds: Sequence[Kind]) -> None:
    """Have a function of `jit` in Numba's cache."""
    function.compile(tuple(_numba_type(kind) for kind in kinds))


def _numba_type(kind: Kind) -> Any:
    if isinstance(kind, Scalar):
        return getattr(numba.types, kind.value)
    types: Any = numba.types
    array = types.Array(getattr(types, kind.dtype), kind.dimensions, "C", readonly=not kind.writes)
    return array if kind.count is None else types.UniTuple(array, kind.count)


def _word(kind: Any) -> Any:
    """What C calls a type of LLVM's, as far as `words` does."""
    if isinstance(kind, ir.PointerType):
        return ctypes.c_void_p
    if isinstance(kind, ir.DoubleType):
        return ctypes.c_double
    return ctypes.c_int64 if kind == ir.IntType(64) else None


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
