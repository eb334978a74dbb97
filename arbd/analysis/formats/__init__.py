"""Formats of `arbctl export`. A new one is a new file here with a declaration `FORMAT`; nothing else knows its name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arbd.registry import Registry

if TYPE_CHECKING:
    from arbd.analysis.export_format import ExportFormat


def _kinds() -> tuple[type, ...]:
    from arbd.analysis.export_format import ExportFormat  # noqa: PLC0415 - NumPy; names alone do not need it

    return (ExportFormat,)


FORMATS: Registry[ExportFormat] = Registry("format", __name__, "FORMAT", _kinds)
