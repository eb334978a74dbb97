"""An executor for `executor: {kind: factory, factory: "processes:pool"}`: processes of the standard library.

Anything with the methods of `concurrent.futures.Executor` can stand here: what a library for MPI, Parsl or Ray returns.
"""

import multiprocessing
from concurrent.futures import Executor, ProcessPoolExecutor


def pool() -> Executor:
    """Called when the daemon starts, and again whenever the executor broke."""
    return ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn"))
