"""Strict YAML: the one door by which files written by people enter arbd.

Scalars are read as YAML 1.2 does (`1e-3` is a number, `no` and `1:30` are texts), names stand once, and
nothing can be larger, deeper or more repeated than a person would write. Keeps I7: parsing has limits.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from arbd.errors import JobError, Problem
from arbd.values import dataclass

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 32
MAX_NODES = 40_000
MAX_TEXT_CHARS = 20_000
MAX_NAME_CHARS = 200
INT_MIN, INT_MAX = -(2**63), 2**63 - 1

_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL = {".inf": "inf", "+.inf": "inf", "-.inf": "-inf", ".nan": "nan"}
# What YAML 1.2 lets stand in a file; and what may not be hidden in a text behind an escape: it would end in logs
# and on terminals.
_NOT_PRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_TAGS = "tag:yaml.org,2002:"
_TEXT = f"{_TAGS}str"
# The tag of a scalar that has none.
_PLAIN = "plain"
_CORE_TAGS = {f"{_TAGS}{name}" for name in ("null", "bool", "int", "float", "str", "seq", "map")}

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


def load(path: Path, *, max_bytes: int = MAX_BYTES) -> Document:
    """Read a file. JobError when it is missing, too large, or not the YAML described above."""
    try:
        # A pipe would be waited for, a device need not end.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise JobError.of(str(path), "is no plain file, but a folder, pipe or device: name a file of YAML")
            data = file.read(max_bytes + 1)
    except IsADirectoryError:
        raise JobError.of(str(path), "is a folder: name a file in it") from None
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
            raise JobError.of(
                source, f"not UTF-8 text (byte {error.start}): name another file, or save it as UTF-8"
            ) from error
    node = _compose(text, source)
    builder = _Builder(source)
    value = builder.build(node, (), 0) if node is not None else None
    if builder.problems:
        raise JobError(source, builder.problems)
    return Document(value, source, builder.places)


def _parser(text: str) -> Any:
    """Something with `get_event` and `dispose`; the one in C where PyYAML has it, which is ten times as fast."""
    parser = getattr(yaml, "cyaml", None)
    return parser.CParser(text) if parser is not None else yaml.SafeLoader(text)


def _compose(text: str, source: str) -> yaml.Node | None:
    bad = _NOT_PRINTABLE.search(text)
    if bad is not None:
        line = text.count("\n", 0, bad.start()) + 1
        raise JobError(source, [Problem(f"a character that YAML does not allow (#x{ord(bad.group()):04x})", "", line)])
    parser = _parser(text)
    try:
        return _Composer(source).compose(parser.get_event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = " ".join(part for part in (error.context, error.problem) if part) or "not YAML"
        place = (mark.line + 1, mark.column + 1) if mark is not None else (0, 0)
        raise JobError(source, [Problem(f"not YAML: {what}{_hint(text, place[0])}", "", *place)]) from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # An escape such as \\UFFFFFFFF, for which there is no character.
        raise JobError.of(source, f"not YAML: {error}") from error
    finally:
        parser.dispose()


class _Composer:
    """Makes a tree of nodes of a parser's events, without recursion, and no further than the limits."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._anchors: dict[str, yaml.Node] = {}
        self._open: list[yaml.CollectionNode] = []
        self._keys: list[yaml.Node | None] = []
        self._nodes = 0
        self._root: yaml.Node | None = None

    def compose(self, get_event: Callable[[], yaml.Event]) -> yaml.Node | None:
        """The one document's root; JobError or a YAMLError when there is none to be had."""
        documents = 0
        while not isinstance(event := get_event(), yaml.StreamEndEvent):
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise self._wrong(event, "not YAML: a second document begins; a file holds one")
            elif isinstance(event, yaml.NodeEvent):
                self._node(event)
            elif isinstance(event, yaml.CollectionEndEvent):
                self._keys.pop()
                self._put(self._open.pop())
        return self._root

    def _node(self, event: Any) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise self._wrong(event, f"more than {MAX_NODES:,} values")
        if isinstance(event, yaml.AliasEvent):
            found = self._anchors.get(str(event.anchor))
            if found is None:
                raise self._wrong(event, f"not YAML: an alias of {str(event.anchor)[:80]!r}, which nothing is called")
            self._put(found)
            return
        node: Any
        mark: Any = event.start_mark
        if isinstance(event, yaml.ScalarEvent):
            # Only a plain scalar without a tag is resolved; a quoted or tagged one is a text whatever it holds.
            plain = event.tag is None and event.style in (None, "")
            node = yaml.ScalarNode(_PLAIN if plain else event.tag or _TEXT, event.value, mark)
        elif len(self._open) > MAX_DEPTH:
            raise self._wrong(event, f"nested deeper than {MAX_DEPTH} levels")
        elif isinstance(event, yaml.SequenceStartEvent):
            node = yaml.SequenceNode(event.tag or f"{_TAGS}seq", [], mark)
        else:
            node = yaml.MappingNode(event.tag or f"{_TAGS}map", [], mark)
        if event.anchor is not None:
            if event.anchor in self._anchors:
                raise self._wrong(event, f"not YAML: the anchor {event.anchor[:80]!r} stands twice")
            self._anchors[event.anchor] = node
        if isinstance(node, yaml.CollectionNode):
            self._open.append(node)
            self._keys.append(None)
        else:
            self._put(node)

    def _put(self, node: yaml.Node) -> None:
        if not self._open:
            self._root = node
        elif isinstance(self._open[-1], yaml.SequenceNode):
            self._open[-1].value.append(node)
        elif self._keys[-1] is None:
            self._keys[-1] = node
        else:
            self._open[-1].value.append((self._keys[-1], node))
            self._keys[-1] = None

    def _wrong(self, event: yaml.Event, message: str) -> JobError:
        mark: Any = event.start_mark
        return JobError(self._source, [Problem(message, "", mark.line + 1, mark.column + 1)])


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
                self.problems.append(Problem(f"the tag {node.tag[:80]!r} is not allowed here", _dotted(path), *place))
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
            if len(key) > MAX_NAME_CHARS or not key.isprintable():
                reason = f"of {len(key)} characters" if key.isprintable() else "with a character that cannot be shown"
                self.problems.append(Problem(f"a name {reason}: {key[:40]!r}", _dotted(path), *place))
                continue
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
        if node.tag not in _CORE_TAGS and node.tag not in ("!", _PLAIN):
            self.problems.append(Problem(f"the tag {node.tag[:80]!r} is not allowed here", _dotted(path), *place))
            return text
        if len(text) > MAX_TEXT_CHARS:
            # A table of market data is one, for example, where a job was asked for.
            file = (
                ""
                if path
                else "holds no fields, each with a name and a colon: is it another file than was meant? it is "
            )
            most = f"{file}a string of {len(text):,} characters; the maximum is {MAX_TEXT_CHARS:,}"
            self.problems.append(Problem(most, _dotted(path), *place))
            return ""
        bad = _CONTROL.search(text)
        if bad is not None:
            self.problems.append(
                Problem(f"a text with the control character U+{ord(bad.group()):04X}", _dotted(path), *place)
            )
            return ""
        if node.tag != _PLAIN:
            return text
        value = resolve_plain(text)
        if type(value) is int and not INT_MIN <= value <= INT_MAX:
            self.problems.append(
                Problem(f"an integer of {len(text)} digits; -2^63 to 2^63 - 1 can be used", _dotted(path), *place)
            )
            return 0
        return value


def resolve_plain(text: str) -> Any:
    """The value of an unquoted scalar by the core schema of YAML 1.2."""
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if text in ("true", "True", "TRUE"):
        return True
    if text in ("false", "False", "FALSE"):
        return False
    if _INT.fullmatch(text):
        # Python refuses to read thousands of digits; nobody may use so many anyway.
        return int(text[:400], 0) if text[:2] in ("0o", "0x") else int(text[:400])
    if _FLOAT.fullmatch(text):
        return float(text)
    special = _SPECIAL.get(text.lower())
    return float(special) if special is not None else text


def dump(value: Any) -> str:
    """The text of plain values that `parse` reads as the same, and YAML 1.1 too. Names keep their order."""
    return str(yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True))


class _Dumper(yaml.SafeDumper):
    """Quotes what only YAML 1.2 takes for something else than text, such as 1e3."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _as_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar(_TEXT, text, style=None if isinstance(resolve_plain(text), str) else "'")


_Dumper.add_representer(str, _as_text)


def _dotted(path: Path_) -> str:
    return ".".join(str(part) for part in path)
