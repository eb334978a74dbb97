"""How large the parts of a job may be, and what its names may be: bombs are refused before anything is made of them.

The one place of these limits: the models of a job file, what is checked before a job is resolved (`oversize`), and what is checked
of a job that another host says it has resolved (`codec`) all take them from here.
"""

from __future__ import annotations

import math
import re

from arbd.spool.provenance import LABEL, MAX_LABELS, MAX_PRIORITY, MAX_SLOTS

__all__ = ["LABEL", "MAX_LABELS", "MAX_PRIORITY", "MAX_SLOTS"]

MAX_PARAMETERS = 256
MAX_CHOICES = 10_000
MAX_FILES = 1_000
MAX_GOALS = 64
MAX_METRIC_CHARS = 200
MAX_ARGUMENTS = 1_000
MAX_GRID_POINTS_IN_ALL = 4_000_000
MIN_MEMORY_MB, MAX_MEMORY_MB = 64, 2**30
MAX_ITERATIONS = 10**12
MAX_SEED = 2**63 - 1
MAX_RETRIES = 100
MAX_REPEATS = 1_000
# Groups of return blocks that a robust metric is over.
MAX_BLOCK_GROUPS = 100_000
MAX_GENERATION = 100_000
MAX_ENQUEUED = 10_000
MAX_CONSTRAINTS = 1_000
# Names, numbers and operators of all constraints together: each is computed for every row, wherever rows are judged.
MAX_CONSTRAINT_TERMS = 5_000
MAX_NOTES_CHARS = 10_000
# Steps without an improvement, which are kept of each iteration that runs.
MAX_PATIENCE = 1_000_000
# Results of an earlier search that a session starts from.
MAX_PAST = 100_000
MAX_VALUE_CHARS = 1_000
MAX_PATH_CHARS = 3_000
MAX_PART_BYTES = 255
# Above this, an integer is no longer the float that samplers compute with.
MAX_EXACT = 2**53
MAX_WIDTH = 1e300
# Times are kept in nanoseconds since 1970: the last is in February of 2116.
MAX_MOMENT_NS = 2**62
# What a market is known by in whatever file (`resolve_quotes`), and how many a job has of all of its markets.
MARK, MAX_MARKS = re.compile(r"-?[0-9]{1,19}:[0-9a-f]{12}"), 10_000
# A parameter's name becomes a column, a variable of a shell, a key: nothing in it may mean anything there.
PARAMETER_NAME = re.compile(r"[^\W\d][\w.-]{0,63}")


def name_fault(name: str) -> str | None:
    """What is wrong with a parameter's name."""
    if PARAMETER_NAME.fullmatch(name):
        return None
    return f"the name {name[:64]!r} is not usable: 1 to 64 letters, digits, '_', '.' or '-', a letter first"


def number_fault(low: float, high: float, step: float | None = None) -> str | None:
    """What is wrong with the size of a range; that it is one at all is checked elsewhere."""
    if isinstance(low, int) and isinstance(high, int) and max(abs(low), abs(high)) > MAX_EXACT:
        return f"integers from -2^53 to 2^53 can be searched, not {low} to {high}"
    width = float(high) - float(low)
    if math.isfinite(low) and math.isfinite(high) and width > MAX_WIDTH:
        return f"the range {low:g} to {high:g} is too wide to search"
    if step is not None and step > 0 and width / step > MAX_EXACT:
        return f"a step of {step:g} makes more than 2^53 values"
    return None


def value_fault(value: object) -> str | None:
    """What is wrong with a value that is a text."""
    if isinstance(value, str) and len(value) > MAX_VALUE_CHARS:
        return f"a string of {len(value):,} characters; the maximum is {MAX_VALUE_CHARS:,}"
    return None
