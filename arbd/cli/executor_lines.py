"""What there is to say of slots that workers have from somebody else. Imports nothing: `status` has to be quick."""

from __future__ import annotations


def executor_lines(worker_id: str, told: object) -> list[str]:
    """What a worker says of slots that it has from somebody else: what they wait for, and whom it refuses why."""
    if not isinstance(told, dict):
        return []
    name = f"{worker_id}: {told.get('kind')} at {told.get('address')}"
    lines = [f"{name} has {told.get('ready')} of {told.get('slots')} slots"]
    if told.get("waits_for"):
        lines[0] += f", waits for {told['waits_for']}"
    refused = told.get("refused")
    return lines + [
        f"{name} refuses its worker {worker}: {reason}"
        for worker, reason in (refused.items() if isinstance(refused, dict) else ())
    ]
