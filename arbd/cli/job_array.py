"""`--each KEY=VALUES` of the command line: what stands there, as what `--set` would have to say for each session."""

from __future__ import annotations

from collections.abc import Sequence

from arbd.errors import UsageError
from arbd.values import dataclass


@dataclass(frozen=True, slots=True)
class Member:
    """One session of an array: its id, and what `--set` would have to say."""

    session_id: str
    overrides: tuple[str, ...]


def members(name: str, each: Sequence[str]) -> list[Member]:
    """The sessions that `--each` options ask for; UsageError names the option that is wrong."""
    from arbd.job.each import LABEL, numbered

    keys = [_values(option) for option in each]
    twice = sorted({key for key, _ in keys if [other for other, _ in keys].count(key) > 1})
    if twice:
        raise UsageError(f"--each names {twice[0]} twice: give all its values in one list")
    try:
        found = numbered(name, keys)
    except UsageError as error:
        raise UsageError(f"--each {error}") from None
    return [
        Member(session_id, (*(f"{key}={text}" for key, text in settings), f"labels.{LABEL}={name}"))
        for session_id, settings in found
    ]


def _values(option: str) -> tuple[str, list[str]]:
    """The key, and the text of each of its values: what YAML makes of it is for `--set` to say, once."""
    import yaml

    key, separator, text = option.partition("=")
    key = key.strip()
    if not separator or not key or not text.strip():
        raise UsageError(f"--each {option!r}: expected KEY=VALUE,VALUE, such as fixed.latency_a_ms=50,100")
    if key == "session_id" or key.startswith("session_id."):
        raise UsageError(f"--each {option!r}: sessions of an array are named by --session-id or the job, and numbered")
    listed = text if text.lstrip().startswith("[") else f"[{text}]"
    try:
        node = yaml.compose(listed, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError):
        node = None
    if not isinstance(node, yaml.SequenceNode) or not node.value:
        raise UsageError(f"--each {option!r}: its values are no list such as 50,100 or [[a.csv], [b.csv]]")
    values = [listed[value.start_mark.index : value.end_mark.index] for value in node.value]
    if "" in values:
        raise UsageError(f"--each {option!r}: a value is empty")
    again = sorted({value for value in values if values.count(value) > 1})
    if again:
        raise UsageError(f"--each {option!r}: {again[0]} stands there twice")
    return key, values
