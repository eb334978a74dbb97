"""The modules that a Python objective may import from the folders of objectives: found by reading, without running them.

What is imported by a name that is computed is not seen; a module that other hosts loaded already is known by name.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path

from arbd.daemon.remote.wire import Files, digest_of_files
from arbd.errors import ObjectiveError
from arbd.job.modules import locate
from arbd.job.policy import written_by_anybody
from arbd.named_file import MAX_PROGRAM_BYTES, open_named
from arbd.values import dataclass

MAX_MODULES = 5_000
MAX_BYTES = 64 << 20


@dataclass(frozen=True)
class ObjectiveCode:
    """Modules by their place below a folder, as they were when they were read."""

    files: Files

    @cached_property
    def digest(self) -> str:
        """Of all of them; '' where there are none."""
        digests = {name: hashlib.sha256(content).hexdigest() for name, content in self.files.items()}
        return digest_of_files(digests) if digests else ""


def read_code(module: str, known: Iterable[str], folders: Sequence[Path]) -> ObjectiveCode:
    """What importing `module`, and the modules `known` by name, may run of these folders.

    ObjectiveError when one can be written by everybody, or when it is too much to send.
    """
    files: Files = {}
    done: set[str] = set()
    todo = [module, *known]
    while todo:
        name = todo.pop()
        if name in done:
            continue
        done.add(name)
        for found, file in locate(name, folders).items():
            place = _place(found, file)
            if place in files:
                continue
            if open_to := written_by_anybody(file):
                raise ObjectiveError(f"the module {found}: {open_to}")
            with open_named(file, MAX_PROGRAM_BYTES) as opened:
                files[place] = opened.read(opened.size)
            if len(files) > MAX_MODULES or sum(map(len, files.values())) > MAX_BYTES:
                raise ObjectiveError(
                    f"the objective's module {module} imports more than {MAX_MODULES:,} modules or "
                    f"{MAX_BYTES >> 20} MiB of the folders of objectives: install it where it is to be evaluated"
                )
            package = found if file.stem == "__init__" else found.rpartition(".")[0]
            if file.suffix == ".py":
                todo += _imported(files[place], package)
    return ObjectiveCode(files)


def _place(module: str, file: Path) -> str:
    parts = module.split(".")
    name = (
        file.name
        if file.name.startswith("__init__.")
        else parts.pop() + file.name.removeprefix(file.name.split(".")[0])
    )
    return "/".join([*parts, name])


def _imported(source: bytes, package: str) -> Iterator[str]:
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        # Whoever imports it is told.
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            if base:
                yield base
                yield from (f"{base}.{alias.name}" for alias in node.names)
