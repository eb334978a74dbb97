"""Parts of a kind that each stand in one file of their own: found by listing, imported when one is used.

Owns the rule that a part declares itself: a file of a package of arbd is a part under its own name, and so is what
another distribution offers through entry points. Nobody else keeps a list of names. Keeps: listing imports no part,
and a part of arbd is found without a look at what else is installed.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import pkgutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Generic, TypeVar

from arbd.errors import PluginError, UsageError
from arbd.near_names import nearest
from arbd.values import dataclass

Part = TypeVar("Part")
MAX_SOURCE_BYTES = 16 << 20
DIGEST_CHARS = 16
MAX_SHOWN_CHARS = 60


@dataclass(frozen=True, slots=True)
class Plugin:
    """A part of another distribution: its name, that of the distribution, and what to import for it."""

    name: str
    distribution: str
    version: str
    target: str

    def __str__(self) -> str:
        return f"{self.distribution} {self.version}"

    def fingerprint(self) -> str:
        """Version and digest of the code: an editable installation changes without its version.

        The digest is of every Python file of the package (or of the module alone) that the entry point names.
        """
        digest = hashlib.sha256()
        for path, shown in _sources(self.target.partition(":")[0].partition(".")[0]):
            digest.update(shown.encode() + b"\0" + path.read_bytes())
        return f"{self.version} sha256:{digest.hexdigest()[:DIGEST_CHARS]}"


@dataclass(frozen=True, slots=True)
class Registry(Generic[Part]):
    """The parts of one kind. `noun` is what a person calls one; `group` are the entry points of others', if any.

    A file `some_name.py` of `package` is the part `some-name` where `dashes`, else `some_name`; its `attribute` declares
    the part. What others offer is of one of `kinds`, or refused; they are imported only then.
    """

    noun: str
    package: str
    attribute: str
    kinds: Callable[[], tuple[type, ...]]
    group: str | None = None
    dashes: bool = False

    def built_in(self) -> tuple[str, ...]:
        """Names of arbd's own parts, in order; imports none of them."""
        folder = importlib.import_module(self.package).__path__
        return tuple(sorted(self._name_of(found.name) for found in pkgutil.iter_modules(folder)))

    def plugins(self) -> dict[str, Plugin]:
        """What other distributions offer, by name; PluginError where two claim one name, or one that arbd has."""
        found: dict[str, Plugin] = {}
        for plugin in self._offered():
            other = found.get(plugin.name)
            if plugin.name in self.built_in() or (other is not None and other != plugin):
                rival = f"{other} offers one too" if other is not None else "arbd has one of its own"
                raise PluginError(f"{plugin} offers a {self.noun} {plugin.name!r}, and {rival}: uninstall one of them")
            found[plugin.name] = plugin
        return dict(sorted(found.items()))

    def names(self) -> tuple[str, ...]:
        """All names, arbd's own first; imports nothing."""
        return (*self.built_in(), *self.plugins())

    def plugin(self, name: str) -> Plugin | None:
        """Where a part comes from, None for arbd's own; UsageError when there is none of that name on this host."""
        if name in self.built_in():
            return None
        plugins = self.plugins()
        if name not in plugins:
            raise self.unknown(name)
        return plugins[name]

    def get(self, name: str) -> Part:
        """The part; UsageError when there is none of that name, PluginError when it cannot be loaded."""
        plugin = self.plugin(name)
        if plugin is None:
            module = importlib.import_module(f"{self.package}.{name.replace('-', '_')}")
            part: Part = getattr(module, self.attribute)
            return part
        return self._loaded(plugin)

    def unknown(self, name: object) -> UsageError:
        """What to say of a name that is none, with the nearest one that is."""
        return UsageError(self.unknown_text(name))

    def unknown_text(self, name: object) -> str:
        """The message of `unknown`."""
        remedy = "; another package's is there once it is installed" if self.group is not None else ""
        known = self.names()
        shown = repr(name) if len(repr(name)) <= MAX_SHOWN_CHARS else repr(name)[: MAX_SHOWN_CHARS - 3] + "..."
        return f"unknown {self.noun} {shown}; {hint(str(name), known)}available are {', '.join(known)}{remedy}"

    def _name_of(self, module: str) -> str:
        return module.replace("_", "-") if self.dashes else module

    def _offered(self) -> Iterator[Plugin]:
        if self.group is None:
            return
        from importlib import metadata  # noqa: PLC0415 - only where a name is none of arbd's own

        for entry in metadata.entry_points(group=self.group):
            distribution = entry.dist
            if distribution is not None:
                yield Plugin(entry.name, distribution.name, distribution.version, entry.value)

    def _loaded(self, plugin: Plugin) -> Part:
        about = f"the {self.noun} {plugin.name!r} of {plugin}"
        module, _, attribute = plugin.target.partition(":")
        try:
            found: object = importlib.import_module(module)
            for part in filter(None, attribute.split(".")):
                found = getattr(found, part)
        except Exception as error:
            # A plug-in's module may raise anything at all while it is imported.
            raise PluginError(
                f"{about} cannot be loaded: {type(error).__name__}: {error}; install what it needs, or another version"
            ) from error
        if not isinstance(found, self.kinds()):
            wanted = " or ".join(kind.__name__ for kind in self.kinds())
            raise PluginError(f"{about}: {plugin.target} is no {wanted}, but a {type(found).__name__}")
        # `kinds` are the types that Part stands for.
        return found  # type: ignore[return-value]


def hint(name: str, known: Iterable[str]) -> str:
    """`did you mean 'x'? ` for a name that is near to a known one; else nothing."""
    near = nearest(name, known)
    return f"did you mean {near[0]!r}? " if near else ""


def _sources(top: str) -> list[tuple[Path, str]]:
    """The Python files of a module or package, with the names that a digest gives them, in order."""
    spec = importlib.util.find_spec(top)
    if spec is None:
        return []
    if not spec.submodule_search_locations:
        return [(Path(spec.origin), Path(spec.origin).name)] if spec.origin is not None else []
    found: list[tuple[Path, str]] = []
    total = 0
    for folder in map(Path, spec.submodule_search_locations):
        for path in folder.rglob("*.py"):
            total += path.stat().st_size
            if total > MAX_SOURCE_BYTES:
                raise PluginError(f"the package {top} has more than {MAX_SOURCE_BYTES >> 20} MiB of Python files")
            found.append((path, path.relative_to(folder).as_posix()))
    return sorted(found, key=lambda pair: pair[1])
