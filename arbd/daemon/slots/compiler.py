"""What the paper engine needs beside what evaluates: Numba, and what it loads before the first function from its cache.

Imported by the server that slots are copies of, where the paper engine may be asked for; nowhere else.
"""

from __future__ import annotations

import gc

from numba.core.registry import cpu_target

cpu_target.typing_context.refresh()
cpu_target.target_context.refresh()
gc.collect()
gc.freeze()
