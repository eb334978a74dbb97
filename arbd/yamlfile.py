"""Strict YAML: the one door by which files written by people enter arbd.

Scalars are read as YAML 1.2 does (`1e-3` is a number, `no` and `1:30` are texts), names stand once, and
nothing can be larger, deeper or more repeated than a person would write. Keeps I7: parsing has limits.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from arbd.errors import JobError, Problem

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 32
MAX_NODES = 200_000

_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL = {".inf": "inf", "+.inf": "inf", "-.inf": "-inf", ".nan": "nan"}
_CORE_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str", "seq", "map")}

Path_ = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """What a file says: `value` in plain Python types, and where each part of it stands."""

    value: Any
    source: str
    places: dict[Path_, tuple[int, int]]

    def locate(self, path: Sequence[str | int]) -> tuple[int, int]:
        """Line and column, from 1, of the value at `path`, or of the nearest part above it that exists."""
        parts = tuple(path)
        while parts and parts not in self.places:
            parts = parts[:-1]
        return self.places.get(parts, (0, 0))


class _Loader(yaml.SafeLoader):
    """Composes nodes; resolves no scalar by itself, because YAML 1.1's rules surprise people."""


_Loader.yaml_implicit_resolvers = {}


def load(path: Path, *, max_bytes: int = MAX_BYTES) -> Document:
    """Read a file. JobError when it is missing, too large, or not the YAML described above."""
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise JobError.of(str(path), f"cannot be read: {error.strerror}") from error
    return parse(data, str(path), max_bytes=max_bytes)


def parse(text: str | bytes, source: str, *, max_bytes: int = MAX_BYTES) -> Document:
    """Read YAML text; `source` names it in errors. JobError with line and column."""
    if len(text) > max_bytes:
        raise JobError.of(
            source, f"larger than {max_bytes // 1024} KiB; such a file only names its data, it does not hold it"
        )
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise JobError.of(source, f"not UTF-8 text (byte {error.start})") from error
    node = _compose(text, source)
    builder = _Builder(source)
    value = builder.build(node, (), 0) if node is not None else None
    if builder.problems:
        raise JobError(source, builder.problems)
    return Document(value, source, builder.places)


def _compose(text: str, source: str) -> yaml.Node | None:
    loader: Any = None
    try:
        loader = _Loader(text)
        node: yaml.Node | None = loader.get_single_node()
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise JobError(
            source, [Problem(f"a character that YAML does not allow (#x{ord(text[error.position]):04x})", "", line)]
        ) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = " ".join(part for part in (error.context, error.problem) if part) or "not YAML"
        place = (mark.line + 1, mark.column + 1) if mark is not None else (0, 0)
        raise JobError(source, [Problem(f"not YAML: {what}{_hint(text, place[0])}", "", *place)]) from error
    except RecursionError as error:
        raise JobError.of(source, f"nested deeper than {MAX_DEPTH} levels") from error
    finally:
        if loader is not None:
            loader.dispose()
    return node


def _hint(text: str, line: int) -> str:
    lines = text.splitlines()
    shown = lines[line - 1] if 0 < line <= len(lines) else ""
    if "\t" in shown[: len(shown) - len(shown.lstrip())]:
        return "; indent with blanks, YAML allows no tabs"
    return ""


class _Builder:
    """Turns nodes into plain values, and remembers where they stand. Aliases count each time they are used."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._nodes = 0
        self._open: set[int] = set()
        self.places: dict[Path_, tuple[int, int]] = {}
        self.problems: list[Problem] = []

    def build(self, node: yaml.Node, path: Path_, depth: int) -> Any:
        place = (node.start_mark.line + 1, node.start_mark.column + 1)
        self.places.setdefault(path, place)
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise JobError(
                self._source, [Problem(f"more than {MAX_NODES:,} values once its aliases are expanded", "", *place)]
            )
        if depth > MAX_DEPTH:
            raise JobError(self._source, [Problem(f"nested deeper than {MAX_DEPTH} levels", "", *place)])
        if id(node) in self._open:
            raise JobError(self._source, [Problem("an alias that contains itself", "", *place)])
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path, place)
        self._open.add(id(node))
        try:
            if node.tag not in _CORE_TAGS and node.tag != "!":
                self.problems.append(Problem(f"the tag {node.tag!r} is not allowed here", _dotted(path), *place))
            if isinstance(node, yaml.SequenceNode):
                return [self.build(item, (*path, index), depth + 1) for index, item in enumerate(node.value)]
            assert isinstance(node, yaml.MappingNode)
            return self._mapping(node, path, depth)
        finally:
            self._open.discard(id(node))

    def _mapping(self, node: yaml.MappingNode, path: Path_, depth: int) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            place = (key_node.start_mark.line + 1, key_node.start_mark.column + 1)
            if not isinstance(key_node, yaml.ScalarNode):
                self.problems.append(Problem("a name must be a text, not a list or a mapping", _dotted(path), *place))
                continue
            key = key_node.value
            if key == "<<":
                self.problems.append(
                    Problem("merge keys (<<) are not part of YAML 1.2: write the values out", _dotted(path), *place)
                )
                continue
            where = (*path, key)
            if key in mapping:
                first = self.places[where][0]
                self.problems.append(Problem(f"stands twice, first in line {first}: keep one", _dotted(where), *place))
                continue
            self.places[where] = place
            mapping[key] = self.build(value_node, where, depth + 1)
        return mapping

    def _scalar(self, node: yaml.ScalarNode, path: Path_, place: tuple[int, int]) -> Any:
        text: str = node.value
        tag = node.tag
        if tag not in _CORE_TAGS and tag != "!":
            self.problems.append(Problem(f"the tag {tag!r} is not allowed here", _dotted(path), *place))
            return text
        # A plain scalar carries the tag that the (empty) resolver gave it; a quoted one is a text whatever it holds.
        if node.style is not None or (tag == "tag:yaml.org,2002:str" and self._is_tagged(node)):
            return text
        return resolve_plain(text)

    @staticmethod
    def _is_tagged(node: yaml.ScalarNode) -> bool:
        mark = node.start_mark
        return bool(mark.buffer is not None and mark.buffer[mark.pointer : mark.pointer + 1] == "!")


def resolve_plain(text: str) -> Any:
    """The value of an unquoted scalar by the core schema of YAML 1.2."""
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if text in ("true", "True", "TRUE"):
        return True
    if text in ("false", "False", "FALSE"):
        return False
    if _INT.fullmatch(text):
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text) if len(text) <= 400 else text
    if _FLOAT.fullmatch(text):
        return float(text)
    special = _SPECIAL.get(text.lower())
    return float(special) if special is not None else text


def _dotted(path: Path_) -> str:
    return ".".join(str(part) for part in path)
