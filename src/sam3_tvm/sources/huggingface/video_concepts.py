"""SAM 3's ``Sam3VideoModel`` of transformers: its rules, and a model of a source's own parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from transformers.models.sam3_video.configuration_sam3_video import Sam3VideoConfig

from sam3_tvm.errors import ArtifactError
from sam3_tvm.rules import ConceptVideoRules
from sam3_tvm.sources.base import SourceError

__all__ = ["concept_video_rules", "read_concept_video_rules"]


def concept_video_rules(described: Mapping[str, Any]) -> ConceptVideoRules:
    """The rules in a configuration; transformers' own for what it doesn't say.

    Args:
        described: a ``config.json`` of model type ``sam3_video``, or part of one.

    Raises:
        ValueError: transformers or this package takes no such value.
    """
    names = [field.name for field in fields(ConceptVideoRules)]
    said = {name: described[name] for name in names if name in described}
    try:
        config = Sam3VideoConfig(**said)
        return ConceptVideoRules(**{name: getattr(config, name) for name in names})
    except (StrictDataclassError, ArtifactError, TypeError) as error:
        raise ValueError(f"{error}") from error


def read_concept_video_rules(folder: Path, described: Mapping[str, Any]) -> ConceptVideoRules:
    """The rules of a checkpoint folder.

    Args:
        folder: where it lies, for errors.
        described: its ``config.json``.

    Raises:
        SourceError: there is a value among them that cannot be.
    """
    try:
        return concept_video_rules(described)
    except ValueError as error:
        raise SourceError(f"{folder}: config.json has no rules for films: {error}") from error
