"""The key under which a result is known in logs and in Redis."""

from __future__ import annotations


def build_tuning_key(session_id: str, worker_id: str, iteration: int, suffix: str = "") -> str:
    """`tuning_session:{session_id}:worker:{worker_id}:iteration:{iteration}[:{suffix}]`."""
    key = f"tuning_session:{session_id}:worker:{worker_id}:iteration:{iteration}"
    return f"{key}:{suffix}" if suffix else key
