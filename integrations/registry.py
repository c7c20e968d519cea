"""Every exporter by its name; a new one is a file of its own and an entry here.

Each is loaded when it is asked for: help and lists must be quick.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .exporter import Export, Exporter

if TYPE_CHECKING:
    from ..study.handover import Handover


def _yaml(handed: Handover, to: Path | None, force: bool) -> Export:
    from .plain import export_yaml, made

    return made(export_yaml(handed), to, force)


def _json(handed: Handover, to: Path | None, force: bool) -> Export:
    from .plain import export_json, made

    return made(export_json(handed), to, force)


def _peft(handed: Handover, to: Path | None, force: bool) -> Export:
    from .peft import export

    assert to is not None, "a folder has a place"
    return export(handed, to, force)


def _peft_place(handed: Handover, to: Path, force: bool) -> None:
    from .peft import check_place

    check_place(handed, to, force)


def _merged(handed: Handover, to: Path | None, force: bool) -> Export:
    from .merged import export

    assert to is not None, "a folder has a place"
    return export(handed, to, force)


def _merged_place(handed: Handover, to: Path, force: bool) -> None:
    from .merged import check_place

    check_place(handed, to, force)


def _llamafactory(handed: Handover, to: Path | None, force: bool) -> Export:
    from .llamafactory import export

    assert to is not None, "a file has a place"
    return export(handed, to, force)


def _trl(handed: Handover, to: Path | None, force: bool) -> Export:
    from .trl import export

    assert to is not None, "a file has a place"
    return export(handed, to, force)


EXPORTERS = {
    one.format: one
    for one in (
        Exporter(
            format="yaml",
            meaning="the configuration as YAML",
            makes="text",
            example="best.yaml",
            export=_yaml,
        ),
        Exporter(
            format="json",
            meaning="the configuration as JSON",
            makes="text",
            example="best.json",
            export=_json,
        ),
        Exporter(
            format="peft",
            meaning="the adapter as PEFT loads it",
            makes="folder",
            example="best/",
            needs_weights=True,
            check_place=_peft_place,
            export=_peft,
        ),
        Exporter(
            format="merged",
            meaning="the base model with the adapter folded in",
            makes="folder",
            example="model/",
            needs_weights=True,
            needs_folded=True,
            check_place=_merged_place,
            export=_merged,
        ),
        Exporter(
            format="llamafactory",
            meaning="a configuration for LLaMA-Factory",
            makes="file",
            example="train.yaml",
            export=_llamafactory,
        ),
        Exporter(
            format="trl",
            meaning="a configuration for TRL",
            makes="file",
            example="sft.yaml",
            export=_trl,
        ),
    )
}
"""Format → exporter, in the order in which help names them."""
