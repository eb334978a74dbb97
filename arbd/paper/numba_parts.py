"""Functions that Numba compiles as parts of their callers: what is inside of Numba is used here, and nowhere else.

Numba's public way would optimise each function with all that is below it, and make machine code of it, once for every
caller up to the first: that takes most of the time, and is thrown away.
"""

from __future__ import annotations

import functools
from typing import Any

import numba
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler


class _PartLibrary(JITCodeLibrary):
    """Code of a function that is a part of others: linked into its callers as it was written, and compiled there."""

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


class _TrialCompiler(Compiler):
    """Of functions that are parts."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)  # type: ignore[no-untyped-call]
        if self.state.library is None:
            self.state.library = _PartLibrary(self.state.targetctx.codegen(), "part")  # type: ignore[no-untyped-call]


class PartCompiler(Compiler):
    """Of functions that are parts, where Numba turns out to do that; else it is Numba's own."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)  # type: ignore[no-untyped-call]
        if self.state.library is None and not fault():
            self.state.library = _PartLibrary(self.state.targetctx.codegen(), "part")  # type: ignore[no-untyped-call]


@functools.cache
def fault() -> str:
    """What goes wrong with a function that is compiled as a part; empty when nothing does."""
    njit: Any = numba.njit
    part = njit(pipeline_class=_TrialCompiler, no_cpython_wrapper=True, no_cfunc_wrapper=True, forceinline=True)(_twice)
    try:
        answer = njit(lambda value: part(value) + 2)(20)
    except Exception as error:  # whatever comes out of the inside of a Numba that is another one
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return "" if answer == 42 else f"a trial gave {answer}"


def _twice(value: Any) -> Any:
    return 2 * value
