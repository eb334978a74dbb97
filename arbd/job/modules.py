"""Where a Python module stands among the folders of objectives, found as an import finds it, without importing anything.

Owns the order in which names are looked for, so that the file whose digest a job has is the file that an import runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import machinery
from pathlib import Path

from arbd.values import dataclass

# As the import system orders them: a package goes before these, and these before a folder without `__init__`.
SUFFIXES = (*machinery.EXTENSION_SUFFIXES, *machinery.SOURCE_SUFFIXES, *machinery.BYTECODE_SUFFIXES)


@dataclass(frozen=True, slots=True)
class Found:
    """A module: its file and, of a package, the folders that its submodules are in.

    `file` is None for a package without `__init__` (a namespace), whose parts may be in several folders.
    """

    file: Path | None
    folders: tuple[Path, ...] = ()


def find(name: str, folders: Sequence[Path]) -> Found | None:
    """The module with the last part `name` in the first of the folders that has it; None when none has."""
    parts: list[Path] = []
    for folder in folders:
        package = folder / name
        is_folder = package.is_dir()
        if is_folder:
            for suffix in SUFFIXES:
                if (package / f"__init__{suffix}").is_file():
                    return Found(package / f"__init__{suffix}", (package,))
        for suffix in SUFFIXES:
            if (folder / f"{name}{suffix}").is_file():
                return Found(folder / f"{name}{suffix}")
        if is_folder:
            parts.append(package)
    return Found(None, tuple(parts)) if parts else None


def locate(module: str, folders: Sequence[Path]) -> dict[str, Path]:
    """The files that importing `module` runs, by module: its parent packages' first, its own last; empty when not found."""
    files: dict[str, Path] = {}
    within: Sequence[Path] = folders
    name = ""
    for part in module.split("."):
        name = f"{name}.{part}" if name else part
        found = find(part, within)
        if found is None or (name != module and not found.folders):
            return {}
        if found.file is not None:
            files[name] = found.file
        within = found.folders
    return files if module in files else {}


def module_file(module: str, folders: Sequence[Path]) -> Path | None:
    """The file of a module; None when it is not in the folders."""
    return locate(module, folders).get(module)
