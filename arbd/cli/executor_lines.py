"""What there is to say of slots that workers have from somebody else. Imports nothing: `status` has to be quick."""

from __future__ import annotations

# Chunks are of a few seconds; only an iteration that takes as long, or an executor that forgot one, is silent for so long.
LONG_S = 300.0


def executor_lines(worker_id: str, told: object) -> list[str]:
    """What a worker says of slots that it has from somebody else: what they wait for, and whom it refuses why."""
    if not isinstance(told, dict):
        return []
    name = f"{worker_id}: {told.get('kind')} at {told.get('address')}"
    lines = [f"{name} has {told.get('ready')} of {told.get('slots')} slots"]
    if told.get("waits_for"):
        lines[0] += f", waits for {told['waits_for']}"
    oldest_s = told.get("oldest_s")
    if isinstance(oldest_s, int | float) and oldest_s > LONG_S:
        lines[0] += f", has no answer to a chunk since {oldest_s / 60:.0f} min"
    refused = told.get("refused")
    return lines + [
        f"{name} refuses its worker {worker}: {reason}"
        for worker, reason in (refused.items() if isinstance(refused, dict) else ())
    ]
