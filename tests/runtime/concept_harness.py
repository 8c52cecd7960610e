"""Films by phrase: our sessions beside ``Sam3VideoModel``'s, on the same random weights."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from track_harness import Studio

from sam3_tvm.rules import ConceptVideoRules
from sam3_tvm.runtime.concepts.tokenizer import Tokenizer
from sam3_tvm.runtime.model import Model
from sam3_tvm.sources.base import ConceptFrame
from sam3_tvm.sources.huggingface.video_concepts_reference import ConceptFilm, video_model


class ConceptStudio(Studio):
    """One source on both sides, with a tokenizer.

    Args:
        checkpoint: of random weights.
        folder: for the tokenizer's file.
    """

    def __init__(self, checkpoint: str, folder: Path) -> None:
        super().__init__(checkpoint)
        source = self.source
        file = folder / "tokenizer.json"
        file.write_text(source.tokenizer_json(), encoding="utf-8")
        self.tokenizer = Tokenizer(file, source.sizes.text_tokens, source.pad_id)

    def with_rules(self, **changed: object) -> tuple[Model, ConceptVideoRules]:
        """A model whose films follow other rules than the checkpoint's."""
        rules = replace(self.source.video_concepts, **changed)
        manifest = replace(self.model.manifest, video_concepts=rules)
        return Model(self.model._call, self.tokenizer, manifest, "made of PyTorch"), rules

    def concept_film(
        self,
        rules: ConceptVideoRules,
        phrases: Sequence[str],
        frames: Sequence[np.ndarray] | None,
        as_published: bool = False,
    ) -> ConceptFilm:
        """A session of the reference."""
        source = self.source
        model = video_model(source.model, source.video_tracker, rules)
        return ConceptFilm(
            model,
            source.tokenizer_json(),
            source.pad_id,
            source.preprocessing,
            phrases,
            frames,
            as_published,
        )


def assert_same_objects(ours, wanted: ConceptFrame) -> None:
    """One frame beside the reference's: ids, phrases, scores, masks to a pixel in a thousand."""
    assert ours.index == wanted.index
    assert ours.objects == wanted.objects, f"frame {ours.index}"
    assert ours.phrases == wanted.phrases
    np.testing.assert_allclose(ours.scores, wanted.scores, atol=1e-4, err_msg=f"{ours.index}")
    for name, mask, theirs in zip(ours.objects, ours.masks, wanted.masks, strict=True):
        union = (mask | theirs).sum()
        iou = (mask & theirs).sum() / union if union else 1.0
        assert iou >= 0.999, f"frame {ours.index}, object {name}: IoU {iou}"


def compare_objects(ours: Iterable, wanted: Iterable[ConceptFrame]) -> list[ConceptFrame]:
    """All frames of two passes; returns the reference's."""
    ours, wanted = list(ours), list(wanted)
    assert [frame.index for frame in ours] == [frame.index for frame in wanted]
    for a, b in zip(ours, wanted, strict=True):
        assert_same_objects(a, b)
    return wanted
