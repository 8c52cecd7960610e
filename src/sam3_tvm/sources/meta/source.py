"""SAM 3 from Meta's own package: ``Sam3Image``, unmodified, cut into components."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from sam3_tvm.rules import (
    ClickRules,
    ConceptVideoRules,
    Preprocessing,
    ReferenceRules,
    VideoRules,
)
from sam3_tvm.sources.base import Licence, SourceError, read_licence
from sam3_tvm.sources.meta.build import CONFIGS, build, config_for, sizes_of
from sam3_tvm.sources.meta.checkpoint import load_into, read_checkpoint
from sam3_tvm.sources.meta.components import COMPONENTS
from sam3_tvm.sources.meta.environment import installed_licence, meta_environment
from sam3_tvm.sources.meta.reference import MetaReference
from sam3_tvm.sources.meta.vocabulary import find_tokenizer
from sam3_tvm.sources.random_weights import byte_tokenizer, randomise

__all__ = ["MetaSource"]

_VOCABULARY = 49408
"""CLIP's, which the builder doesn't name."""


class MetaSource:
    """Meta's ``Sam3Image`` as a :class:`~sam3_tvm.sources.base.Source`.

    Args:
        checkpoint: what the user called it.
        model: the ``Sam3Image`` with its weights.
        tokenizer: its tokenizer as JSON text.
        licence: that of the weights.
        points: whether the weights have the layers for points.
    """

    kind = "meta"
    reference = ReferenceRules(
        geometry_without_boxes=True,
        mask_resize="logits",
        visual_text="visual",
        default_threshold=0.5,
    )
    pad_id = 0
    mask_by_id = True

    def __init__(
        self,
        checkpoint: str,
        model: Any,
        tokenizer: str,
        licence: Licence | None,
        points: bool = True,
    ) -> None:
        self.checkpoint = checkpoint
        self.model = model.eval()
        self.licence = licence
        self.sizes = replace(sizes_of(model), points=points)
        self.clicks: ClickRules | None = None
        self.video: VideoRules | None = None
        self.video_concepts: ConceptVideoRules | None = None
        self.preprocessing = Preprocessing(
            self.sizes.image, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), 1 / 255
        )
        self._tokenizer = tokenizer

    @classmethod
    def open(cls, path: Path) -> MetaSource:
        """A checkpoint file of Meta's, such as ``sam3.pt``.

        The tokenizer and the licence are looked for beside it, then in what is installed.

        Raises:
            SourceError: a file that isn't a SAM 3 checkpoint, no tokenizer for it, or no ``sam3``
                package.
        """
        checkpoint = read_checkpoint(path)
        tokenizer = find_tokenizer(path.parent)
        model = build(config_for(checkpoint), Tokenizer.from_str(tokenizer))
        points = load_into(model, checkpoint)
        licence = read_licence(path.parent) or installed_licence()
        return cls(str(path), model, tokenizer, licence, points)

    @classmethod
    def random(cls, checkpoint: str) -> MetaSource:
        """A model with seeded random weights: ``random:meta`` or ``random:meta-tiny``.

        Args:
            checkpoint: one of these names, optionally with a seed, such as ``random:meta:7``.

        Raises:
            SourceError: another name, or no ``sam3`` package.
        """
        _, name, *rest = checkpoint.split(":")
        if name not in CONFIGS or len(rest) > 1 or not all(r.isdigit() for r in rest):
            accepted = ", ".join(f"random:{n}" for n in CONFIGS)
            raise SourceError(
                f"unknown checkpoint {checkpoint!r}; accepted are {accepted}, "
                "each optionally with a seed, such as random:meta:7"
            )
        config = CONFIGS[name]()
        vocabulary = config.get("VETextEncoder", {}).get("vocab_size", _VOCABULARY)
        tokenizer = byte_tokenizer(vocabulary)
        model = build(config, tokenizer)
        randomise(model, seed=int(rest[0]) if rest else 0)
        return cls(checkpoint, model, tokenizer.to_str(), None)

    def component(self, name: str) -> torch.nn.Module:
        """The module of one component; see :class:`~sam3_tvm.sources.base.Source`."""
        with meta_environment():
            return COMPONENTS[name](self.model, self.sizes).eval()

    def patched(self) -> AbstractContextManager[None]:
        """The scope in which components can be run and exported."""
        return meta_environment()

    def tokenizer_json(self) -> str:
        """The tokenizer, in the format of the ``tokenizers`` library."""
        return self._tokenizer

    def vocabulary_size(self) -> int:
        """Number of token ids."""
        size: int = self.model.backbone.language_backbone.encoder.vocab_size
        return size

    def reference_segmenter(self) -> MetaReference:
        """``Sam3Image`` end to end."""
        return MetaReference(self.model, self.preprocessing)

    def reference_clicker(self) -> None:
        """Meta's tracker is not among what is compiled."""
        return None

    def reference_tracker(self) -> None:
        """As for clicks."""
        return None
