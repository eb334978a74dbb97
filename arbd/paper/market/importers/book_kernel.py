"""The loop that plays messages into a book: each side a sorted array whose best price is at its end."""

from __future__ import annotations

from typing import Any

import numpy as np

from arbd.paper.compiled import jit, jit_part


@jit_part
def _apply(keys: Any, sizes: Any, count: int, key: float, size: float) -> int:
    """Set one price of a side, or remove it and all better ones (a size below 0); the new number of prices."""
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        if keys[middle] < key:
            low = middle + 1
        else:
            high = middle
    if size < 0.0:
        return low
    there = low < count and keys[low] == key
    if size == 0.0:
        if there:
            for i in range(low, count - 1):
                keys[i] = keys[i + 1]
                sizes[i] = sizes[i + 1]
            return count - 1
        return count
    if not there:
        for i in range(count, low, -1):
            keys[i] = keys[i - 1]
            sizes[i] = sizes[i - 1]
        keys[low] = key
        count += 1
    sizes[low] = size
    return count


@jit
def play(snapshot: Any, ends: Any, changes: Any, sides: Any, counts: Any, last: Any, out: Any, kept: Any) -> None:
    """Messages into `sides` (bids' prices, bids' sizes, asks' negative prices, asks' sizes); `out` is each one's levels."""
    begin = 0
    levels = out.shape[1] // 4
    for message in range(ends.shape[0]):
        if snapshot[message]:
            counts[0] = 0
            counts[1] = 0
        for at in range(begin, ends[message]):
            price, size = changes[at, 1], changes[at, 2]
            if changes[at, 0] == 1.0:
                counts[0] = _apply(sides[0], sides[1], counts[0], price, size)
            else:
                counts[1] = _apply(sides[2], sides[3], counts[1], -price, size)
        begin = ends[message]
        changed = snapshot[message] != 0
        for level in range(levels):
            for side in range(2):
                found = counts[side] - 1 - level
                price, size = np.nan, 0.0
                if found >= 0:
                    price, size = abs(sides[2 * side, found]), sides[2 * side + 1, found]
                column = 4 * level + 2 * side
                out[message, column] = price
                out[message, column + 1] = size
                same_price = last[column] == price or (np.isnan(price) and np.isnan(last[column]))
                if not same_price or last[column + 1] != size:
                    changed = True
                last[column] = price
                last[column + 1] = size
        kept[message] = changed
