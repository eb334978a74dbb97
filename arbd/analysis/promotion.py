"""Parameters on their way to a bot: what is written, where it comes from, and the record of it.

Armed in two steps. The first says what would be written, and a code that stands for exactly that, for this file, after
everything that was promoted before; the second needs the code. So it is good once, and for nothing else than what was
shown: when another winner, verdict or promotion comes in between, there is another code.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from arbd import __version__
from arbd.analysis.robust import robust_choice
from arbd.analysis.table import load_table
from arbd.analysis.verdict import session_verdict
from arbd.atomic_file import check_output, whole_file
from arbd.errors import ArbdError, NotFoundError, UsageError
from arbd.job.code import expected_parts
from arbd.plain_json import as_plain
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.provenance import Actor
from arbd.validation.evidence import Verdict
from arbd.values import dataclass

CODE_CHARS = 8
LOCK_TIMEOUT_S = 30.0
MAX_LOG_BYTES = 1 << 30
FORMATS = (".yaml", ".yml", ".json")


@dataclass(frozen=True, slots=True)
class Promotion:
    """What is to be written. `despite` is why, where the verdict is none of skill."""

    parameters: Mapping[str, Any]
    provenance: Mapping[str, Any]
    despite: str = ""

    def document(self) -> dict[str, Any]:
        """As it stands in the file."""
        return {"parameters": dict(self.parameters), "provenance": dict(self.provenance)}

    @property
    def digest(self) -> str:
        """Of the document."""
        return hashlib.sha256(json.dumps(self.document(), sort_keys=True, default=str).encode()).hexdigest()


def prepare(
    spool: Path, session_id: str, *, metric: str | None = None, robust: bool = False, despite: str = ""
) -> Promotion:
    """What promoting a session's winner would write.

    UsageError for any verdict but `skill`, unless `despite` gives a reason; NotFoundError where there is no winner.
    """
    table = load_table(spool, session_id, blocks=True)
    found = session_verdict(spool, session_id, metric)
    judgement = found.judgement
    if found.best_iteration is None or (found.winner is None and judgement.verdict is not Verdict.NO_DATA):
        raise NotFoundError(f"session {session_id}: {judgement.rule}")
    if judgement.verdict is not Verdict.SKILL and not despite.strip():
        raise UsageError(
            f"session {session_id}: its verdict is {judgement.verdict}: {judgement.rule}; only skill is promoted, or what "
            'you answer for: --despite-verdict "reason"'
        )
    if robust:
        position = robust_choice(table, found.metric).position
    else:
        iterations = table.source.fixed("iteration").tolist()
        position = iterations.index(found.best_iteration)
    (result,) = table.results([position])
    spec = table.spec
    return Promotion(
        {**spec.fixed, **result.params},
        {
            "session_id": session_id,
            "iteration": result.iteration,
            "chosen": "robust" if robust else "best",
            "metric": found.metric,
            "value": result.metrics.get(found.metric),
            "verdict": str(judgement.verdict),
            "rule": judgement.rule,
            **({"despite_verdict": despite.strip()} if judgement.verdict is not Verdict.SKILL else {}),
            "objective": str(spec.objective),
            "data": {path: spec.digests[path] for path in (*spec.data, *spec.scenarios) if path in spec.digests},
            "code": expected_parts(spec),
            "job": hashlib.sha256(json.dumps(spec.to_plain(), sort_keys=True, default=str).encode()).hexdigest(),
            "arbd": __version__,
        },
        despite.strip() if judgement.verdict is not Verdict.SKILL else "",
    )


def code_of(files: Files, layout: SpoolLayout, promotion: Promotion, to: Path) -> str:
    """What the second step has to be given. UsageError when no file of this name can be written."""
    target = check_output(to)
    _form(target)
    text = "\0".join((promotion.digest, str(target), _log_digest(files, layout)))
    return hashlib.sha256(text.encode()).hexdigest()[:CODE_CHARS]


def promote(
    files: Files, layout: SpoolLayout, promotion: Promotion, to: Path, code: str, actor: Actor
) -> dict[str, Any]:
    """Write the file, whole by rename, after the spool's log says who does it. The document that is written.

    UsageError when the code is not the one for what would be written now, or no file can be written there.
    """
    target = check_output(to)
    form = _form(target)
    with files.lock(layout.promotions_lock, LOCK_TIMEOUT_S):
        expected = code_of(files, layout, promotion, to)
        if code != expected:
            raise UsageError(
                f"--code {code} is not the code of what would be written now: the winner, its verdict, the file or the log of "
                "promotions is another than when it was shown; run it without --code again"
            )
        told = {"promoted": iso(actor.wall_ns), "by": f"{actor.user}@{actor.host}"}
        written = replace(promotion, provenance={**promotion.provenance, **told}).document()
        content = _encoded(written, form)
        entry = {
            "event": "promoted", "at": told["promoted"], "user": actor.user, "uid": actor.uid, "host": actor.host,
            "file": str(target), "sha256": hashlib.sha256(content).hexdigest(), **written,
        }  # fmt: skip
        # First the record, so that no bot can ever have parameters that nobody is on record for.
        _append(files, layout, entry)
        try:
            with whole_file(target) as new:
                new.write_bytes(content)
        except (OSError, ArbdError) as error:
            _append(files, layout, {**_without_document(entry), "event": "failed", "reason": str(error)})
            raise
    return written


def read_promotions(files: Files, layout: SpoolLayout) -> list[dict[str, Any]]:
    """What was promoted, in order, and written; lines that cannot be read are passed over."""
    try:
        lines = files.read(layout.promotions, limit=MAX_LOG_BYTES).splitlines()
    except FileNotFoundError:
        return []
    found: list[dict[str, Any]] = []
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if not isinstance(entry, dict):
            continue
        if entry.get("event") == "promoted" and isinstance(entry.get("provenance"), dict):
            found.append(entry)
        elif entry.get("event") == "failed" and found and found[-1].get("sha256") == entry.get("sha256"):
            found.pop()
    return found


def iso(wall_ns: int) -> str:
    """A moment for people."""
    return datetime.fromtimestamp(wall_ns / 1e9, tz=UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _without_document(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name not in ("parameters", "provenance")}


def _append(files: Files, layout: SpoolLayout, entry: Mapping[str, Any]) -> None:
    line = json.dumps(entry, ensure_ascii=False, default=str) + "\n"
    # Who was killed while writing left half a line: nothing may stand on it.
    files.append(layout.promotions, (line if _ends_in_line(files, layout) else "\n" + line).encode())
    files.sync_folder(layout.root)


def _ends_in_line(files: Files, layout: SpoolLayout) -> bool:
    try:
        return files.read(layout.promotions, limit=MAX_LOG_BYTES)[-1:] in (b"", b"\n")
    except FileNotFoundError:
        return True


def _log_digest(files: Files, layout: SpoolLayout) -> str:
    try:
        return hashlib.sha256(files.read(layout.promotions, limit=MAX_LOG_BYTES)).hexdigest()
    except FileNotFoundError:
        return ""


def _form(target: Path) -> str:
    if target.suffix not in FORMATS:
        raise UsageError(
            f"{target}: parameters are written as YAML or JSON: name a file that ends in {', '.join(FORMATS)}"
        )
    return target.suffix


def _encoded(document: Mapping[str, Any], form: str) -> bytes:
    if form == ".json":
        return (json.dumps(as_plain(document), indent=2, ensure_ascii=False) + "\n").encode()
    from arbd import strict_yaml  # noqa: PLC0415 - as in `best`

    return strict_yaml.dump(dict(document)).encode()
