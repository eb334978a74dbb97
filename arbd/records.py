"""Msgpack records of the spool, read as what they are: bytes that another host wrote, which may be in foreign hands.

A record is declared once, as a `msgspec.Struct`: its fields, their names in the file, and their bounds. A `RecordFormat`
reads it. Everything here raises ValueError, which the reader of a file turns into an error that names the file and the
place, or into a stretch that counts as damaged; VersionError comes first where another version wrote the record.
"""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar, Union, get_args, get_origin, get_type_hints

import msgpack
import msgspec
from msgspec import Meta

from arbd.schema import Schema

T = TypeVar("T")

# Lists and maps of a record that is not columns of rows. A list is allocated before it is read, at each level of nesting.
MAX_ITEMS = 1 << 20
MAX_EXT_BYTES = 0
INT64_MAX = 2**63 - 1
MAX_TEXT_CHARS = 100_000

Natural = Annotated[int, Meta(ge=0, le=INT64_MAX)]
Positive = Annotated[int, Meta(ge=1, le=INT64_MAX)]
Signed = Annotated[int, Meta(ge=-INT64_MAX, le=INT64_MAX)]
Text = Annotated[str, Meta(max_length=MAX_TEXT_CHARS)]
Items = Meta(max_length=MAX_ITEMS)

_STEP = re.compile(r"\.([^.\[]+)|\[(\d+)\]|\[\.\.\.\]")
_PLACE = re.compile(r"(?s)(.*?)(?: - at (?:`key` in )?`\$([^`]*)`)?")
_MISSING = re.compile(r"Object missing required field `([^`]*)`")
_TYPE = re.compile(r"`(\w+)`")
_WORDS = {
    "array": "a list",
    "object": "a map",
    "str": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "bytes": "bytes",
    "null": "nothing",
}


def unpack(payload: bytes | memoryview) -> Any:
    """The record in a payload, whatever it is; ValueError when it is none, or larger inside than its payload allows."""
    items = min(MAX_ITEMS, len(payload))
    try:
        return msgpack.unpackb(
            payload,
            strict_map_key=False,
            raw=False,
            max_str_len=len(payload),
            max_bin_len=len(payload),
            max_array_len=items,
            max_map_len=items,
            max_ext_len=MAX_EXT_BYTES,
        )
    except (ValueError, TypeError, OverflowError, msgpack.UnpackException) as error:
        # TypeError: a map with a list for a key.
        raise ValueError(f"no record: {str(error) or type(error).__name__}") from error


def always(record: Mapping[Any, Any]) -> bool:
    """Every record of a kind says of which schema it is."""
    del record
    return True


class RecordFormat(Generic[T]):
    """Reads records of one declared kind. `schema` is asked for at each read; `says_schema` which records tell theirs."""

    def __init__(
        self,
        what: str,
        form: Any,
        schema: Callable[[], Schema] | None = None,
        says_schema: Callable[[Mapping[Any, Any]], bool] = always,
    ) -> None:
        self._what = what
        self._form = form
        self._schema = schema
        self._says_schema = says_schema
        self._decoder: msgspec.msgpack.Decoder[T] = msgspec.msgpack.Decoder(form)

    def read(self, payload: bytes | memoryview, path: Path | str) -> T:
        """The record in a payload of the file `path`: VersionError when another version wrote it, ValueError when none."""
        record = self.decode(payload, path)
        if self._schema is not None:
            version, schema = getattr(record, "version", None), self._schema()
            if version is not None and version != schema.version and version not in schema.also:
                self._require_schema(unpack(payload), path)
        return record

    def decode(self, payload: bytes | memoryview, path: Path | str = "a record") -> T:
        """As `read`, of whatever schema, as long as it has the declared form."""
        try:
            return self._decoder.decode(payload)
        except (msgspec.DecodeError, RecursionError) as error:
            # Whoever wrote another schema declared it otherwise. Read the slow way, for a good error.
            record = unpack(payload)
            if not isinstance(record, dict):
                raise ValueError(f"{self._what} is {shown(record)}, expected a map") from error  # noqa: TRY004 - one kind of error for a record
            self._require_schema(record, path)
            raise ValueError(f"{self._what}: {_fault(str(error), self._form, record)}") from error

    def _require_schema(self, record: Any, path: Path | str) -> None:
        if self._schema is not None and isinstance(record, dict) and self._says_schema(record):
            self._schema().require(record, path)


def _fault(message: str, form: Any, record: Any) -> str:
    """What msgspec says of a record, with the declared names for those in the file and with the value that is wrong."""
    match = _PLACE.fullmatch(message)
    said, place = (match[1], match[2] or "") if match is not None else (message, "")
    names, value = "", record
    known = True
    for name, index in _STEP.findall(place):
        step, form = _named(form, name, index, value)
        names += step if step.startswith("[") else f".{step}" if names else step
        try:
            value = value[name if name else int(index)]
        except (LookupError, TypeError, ValueError):
            known = False
    if missing := _MISSING.fullmatch(said):
        step, _ = _named(form, missing[1], "", value)
        return f"no {f'{names}.{step}' if names else step} ({missing[1]!r}) in it"
    described = _description(form)
    if described and known:
        said = f"expected {described}"
    else:
        said = _TYPE.sub(lambda found: _WORDS.get(found[1], found[0]), said[:1].lower() + said[1:])
    if not names:
        return said
    return f"{names} is {shown(value)}, {said}" if known else f"{names}: {said}"


def _named(form: Any, name: str, index: str, value: Any) -> tuple[str, Any]:
    """The declared name of a step into a value of a declared form, and the form of what is there."""
    form = _struct_in(form, value)
    if isinstance(form, type) and issubclass(form, msgspec.Struct):
        hints = get_type_hints(form, include_extras=True)
        fields = form.__struct_fields__
        if name and name in form.__struct_encode_fields__:
            field = fields[form.__struct_encode_fields__.index(name)]
            return field, hints[field]
        if index and form.__struct_config__.array_like and int(index) < len(fields):
            return fields[int(index)], hints[fields[int(index)]]
        return name or f"[{index}]", None
    inner = [part for part in get_args(form) if part is not Ellipsis]
    if get_origin(form) is dict:
        return "[...]", inner[-1]
    if get_origin(form) is tuple and len(inner) > 1 and index:
        return f"[{index}]", inner[min(int(index), len(inner) - 1)]
    return f"[{index or '...'}]", inner[0] if inner else None


def _struct_in(form: Any, value: Any) -> Any:
    """The form without its bounds; of several, the record that the value says it is, or the one that can have parts."""
    if get_origin(form) is Annotated:
        form = get_args(form)[0]
    if get_origin(form) not in (Union, types.UnionType):
        return form
    several = [_struct_in(each, value) for each in get_args(form)]
    for each in several:
        if isinstance(each, type) and issubclass(each, msgspec.Struct) and isinstance(value, dict):
            config = each.__struct_config__
            if config.tag is None or value.get(config.tag_field) == config.tag:
                return each
    return next((each for each in several if get_args(each) or hasattr(each, "__struct_fields__")), None)


def _description(form: Any) -> str:
    """How a declaration says in words what it expects; '' where it does not."""
    for part in getattr(form, "__metadata__", ()) or get_args(form):
        found = part.description if isinstance(part, Meta) else _description(part)
        if found:
            return str(found)
    return ""


def shown(value: Any) -> str:
    """A value of foreign origin, short enough for an error."""
    if isinstance(value, list | dict | bytes):
        return f"a {type(value).__name__} of {len(value)}"
    short = ascii(value if not isinstance(value, str) else value[:40])
    return short if len(short) <= 60 else short[:57] + "..."
