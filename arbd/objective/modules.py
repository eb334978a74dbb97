"""Imports from the folders of objectives: what runs is what was hashed, and everything that ran is known.

A finder before Python's own loads what is in these folders. A source is read once: the bytes that are compiled are the
bytes that are hashed, and no bytecode cache is read or written, which goes by times and sizes and may be stale. Modules
of anywhere else (the standard library, site-packages) are Python's own business.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.abc
import importlib.util
import sys
from collections.abc import Collection, Mapping, Sequence
from importlib import machinery
from pathlib import Path
from types import CodeType, ModuleType

from arbd.errors import ObjectiveError
from arbd.job.code import MODULE, REMEDY, SHORT, module_digest
from arbd.job.modules import SUFFIXES, find, locate
from arbd.job.policy import is_below, written_by_anybody
from arbd.values import dataclass


class RefusedImportError(ImportError):
    """A module of the folders of objectives may not be run here and now."""


class StaleProcessError(ObjectiveError):
    """This process has loaded other code than is asked for; a fresh one may have what is asked for."""


class StaleEngineError(StaleProcessError):
    """arbd's own code on the disk is not what this process began with."""


@dataclass(frozen=True, slots=True)
class LoadedModule:
    """A module that ran in this process: from which file, of which content."""

    file: Path
    digest: str


class ObjectiveModules(importlib.abc.MetaPathFinder):
    """The finder of this process, which keeps what was loaded through it.

    `expected` are digests by module that are not to be departed from. A module that departs is not run; because code
    may go on without what it cannot import, `refusal` says so until the process ends.
    """

    def __init__(self) -> None:
        self.folders: tuple[Path, ...] = ()
        self.expected: Mapping[str, str] = {}
        self.loaded: dict[str, LoadedModule] = {}
        self.refusal = ""

    @classmethod
    def of_this_process(cls) -> ObjectiveModules:
        """The one finder, put in its place by the first call."""
        for finder in sys.meta_path:
            if isinstance(finder, cls):
                return finder
        finder = cls()
        # After what is built in, before what looks through sys.path: as the first folders there.
        place = next((i for i, other in enumerate(sys.meta_path) if other is machinery.PathFinder), 0)
        sys.meta_path.insert(place, finder)
        return finder

    def look_in(self, folders: Sequence[Path]) -> None:
        """Load from these folders from now on, before those of earlier calls."""
        self.folders = tuple(dict.fromkeys((*folders, *self.folders)))
        # For processes that an objective starts, which have Python's own imports alone.
        sys.path[:0] = [str(folder) for folder in folders if str(folder) not in sys.path]
        importlib.invalidate_caches()

    def parts(self) -> dict[str, str]:
        """What was loaded, as parts of a session's code."""
        return {f"{MODULE}{name}": module.digest for name, module in self.loaded.items()}

    def require_current(self, expected: Mapping[str, str], names: Collection[str] | None = None) -> None:
        """StaleProcessError unless what is loaded (of these names) is as expected, or where nothing is, as the files are."""
        if self.refusal:
            raise StaleProcessError(self.refusal)
        for name, module in self.loaded.items():
            if names is not None and name not in names:
                continue
            wanted = expected.get(name)
            if wanted is None:
                # Asked for by name, as an import would: another file may have come before the one that was loaded.
                file = locate(name, self.folders).get(name)
                wanted = module_digest(file) if file is not None else None
            if wanted != module.digest:
                raise StaleProcessError(
                    f"module {name} was loaded from {module.file} before that was changed; a fresh process has to load it"
                )

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> machinery.ModuleSpec | None:
        """See `importlib.abc.MetaPathFinder`."""
        parent, _, name = fullname.rpartition(".")
        if not parent:
            folders: Sequence[Path] = self.folders
        elif self._is_ours(parent):
            folders = [Path(entry) for entry in path or ()]
        else:
            return None
        found = find(name, folders)
        if found is None:
            return None
        if found.file is None:
            return self._namespace(fullname, found.folders, path)
        loader = _loader(fullname, found.file, self)
        spec = importlib.util.spec_from_file_location(
            fullname,
            found.file,
            loader=loader,
            submodule_search_locations=[str(folder) for folder in found.folders] or None,
        )
        if spec is not None:
            spec.cached = None
        return spec

    def _is_ours(self, package: str) -> bool:
        module = sys.modules.get(package)
        folders = [Path(entry) for entry in getattr(module, "__path__", ())]
        return package in self.loaded or (
            getattr(module, "__file__", None) is None and any(is_below(folder, self.folders) for folder in folders)
        )

    def _namespace(
        self, fullname: str, folders: Sequence[Path], path: Sequence[str] | None
    ) -> machinery.ModuleSpec | None:
        """A package without `__init__`: one that has it anywhere else goes before, parts elsewhere belong to it."""
        ours = [str(folder) for folder in folders]
        elsewhere = [entry for entry in (sys.path if path is None else path) if Path(entry) not in self.folders]
        other = machinery.PathFinder.find_spec(fullname, elsewhere)
        if other is not None and other.loader is not None:
            return None
        theirs = list(other.submodule_search_locations or ()) if other is not None else []
        spec = machinery.ModuleSpec(fullname, None, is_package=True)
        spec.submodule_search_locations = list(dict.fromkeys((*ours, *theirs)))
        return spec

    def admit(self, name: str, file: Path, digest: str) -> None:
        """Note that a module is about to run; RefusedImportError when it may not."""
        before, wanted = self.loaded.get(name), self.expected.get(name)
        if not is_below(file, self.folders):
            self._refuse(name, f"{file} is a link that leads out of `objective_paths`")
        if (reason := written_by_anybody(file)) is not None:
            self._refuse(name, reason)
        if wanted is not None and digest != wanted:
            self._refuse(
                name,
                f"{file} on this host is not the file that the job was accepted with or its session began with "
                f"(module {name}, SHA-256 {digest[:SHORT]}, expected {wanted[:SHORT]}); {REMEDY}",
            )
        if before is not None and before.digest != digest:
            self._refuse(name, f"{file} was changed while this process ran, and loaded again (module {name})")
        self.loaded[name] = LoadedModule(file, digest)

    def _refuse(self, name: str, reason: str) -> None:
        self.refusal = self.refusal or reason
        raise RefusedImportError(reason, name=name)


class _SourceLoader(machinery.SourceFileLoader):
    """Compiles the bytes that it hashed."""

    def __init__(self, fullname: str, path: str, modules: ObjectiveModules) -> None:
        super().__init__(fullname, path)
        self._modules = modules

    def get_code(self, fullname: str) -> CodeType | None:
        data = self.get_data(self.path)
        self._modules.admit(fullname, Path(self.path), hashlib.sha256(data).hexdigest())
        code: CodeType = self.source_to_code(data, self.path)
        return code


class _BytecodeLoader(machinery.SourcelessFileLoader):
    """A module of which there is bytecode alone, which is hashed as it is."""

    def __init__(self, fullname: str, path: str, modules: ObjectiveModules) -> None:
        super().__init__(fullname, path)
        self._modules = modules

    def get_data(self, path: str) -> bytes:
        data = super().get_data(path)
        self._modules.admit(self.name, Path(path), hashlib.sha256(data).hexdigest())
        return data


class _ExtensionLoader(machinery.ExtensionFileLoader):
    """A library of machine code, which the system loads by name: hashed before and after."""

    def __init__(self, fullname: str, path: str, modules: ObjectiveModules) -> None:
        super().__init__(fullname, path)
        self._modules = modules

    def create_module(self, spec: machinery.ModuleSpec) -> ModuleType:
        path = Path(self.path)
        self._modules.admit(self.name, path, module_digest(path))
        module = super().create_module(spec)
        self._modules.admit(self.name, path, module_digest(path))
        return module


def _loader(fullname: str, file: Path, modules: ObjectiveModules) -> importlib.abc.Loader:
    suffix = next(suffix for suffix in SUFFIXES if file.name.endswith(suffix))
    if suffix in machinery.SOURCE_SUFFIXES:
        return _SourceLoader(fullname, str(file), modules)
    if suffix in machinery.BYTECODE_SUFFIXES:
        return _BytecodeLoader(fullname, str(file), modules)
    return _ExtensionLoader(fullname, str(file), modules)
