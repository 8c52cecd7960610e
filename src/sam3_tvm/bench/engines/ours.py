"""Ours: an artifact, through the runtime that users run."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam3_tvm.arithmetic import SCHEMES
from sam3_tvm.bench.engines.base import MeasuredEngine, Run
from sam3_tvm.bench.parts import KEPT, PROMPT_ROWS, Part, PromptRow, kept_queries

__all__ = ["Ours"]


class Ours(MeasuredEngine):
    """An artifact, through the runtime that users run, as if it were all that is installed."""

    packages = ("sam3-tvm", "apache-tvm-ffi")

    def __init__(self, job: Mapping[str, Any]) -> None:
        # tvm_ffi imports torch where it finds it: seconds and 190 MB (torch 2.13, November 2026)
        # that an installation of the runtime hasn't got. In this process torch isn't there: None
        # is what import takes for missing, of which sys.modules' type doesn't know.
        modules: dict[str, Any] = sys.modules
        modules["torch"] = None
        from sam3_tvm import artifact
        from sam3_tvm.runtime.concepts.tokenizer import Tokenizer
        from sam3_tvm.runtime.execution.module import load_functions
        from sam3_tvm.runtime.model import Model

        super().__init__(job)
        opened = artifact.open(job["artifact"])
        manifest = opened.manifest
        # As sam3_tvm.load does, with the functions at hand for the parts: loaded a second time
        # their weights would be mapped, and counted, twice.
        self._table = load_functions(opened, self.threads)
        rules, length = manifest.tokenizer, manifest.sizes.text_tokens
        file = opened.path / rules.file
        tokenizer = Tokenizer(file, length, rules.pad_id, rules.mask_by_id)
        functions: Any = _Remembering(self._table)
        self._manifest = manifest
        # A quick model has the functions alone that are measured.
        self._model = (
            None if manifest.left_out else Model(functions, tokenizer, manifest, opened.fingerprint)
        )
        self._image: Any = None
        self._threshold = 0.0
        self._of_picture: dict[tuple[Any, ...], Any] = {}
        stored = {scheme.weights for scheme in manifest.schemes} - {"float32"}
        kinds = " and ".join(dict.fromkeys(scheme.activations for scheme in manifest.schemes))
        self.precision = kinds + (f", {'/'.join(sorted(stored))} weights" if stored else "")

    def arithmetic(self, function: str) -> str:
        return SCHEMES[self._manifest.arithmetic[function]].activations

    def tensor(self, value: NDArray[Any]) -> Any:
        from sam3_tvm.runtime.execution.functions import aligned

        return aligned(value)

    def call(self, name: str, inputs: Sequence[Any]) -> Sequence[Any]:
        split = self._manifest.stages.get(name)
        if split is None:
            return self._table(name, *inputs)
        # What the picture alone decides is computed once, however often it is asked for, as the
        # runtime does.
        specs = self.components[name].inputs
        given = {spec.name: value for spec, value in zip(specs, inputs, strict=True)}
        picture = [given[i] for i in split.image_inputs]
        key = (name, *map(id, picture))
        if key not in self._of_picture:
            self._of_picture[key] = (picture, self._table(split.image, *picture))
        _, halfway = self._of_picture[key]
        return self._table(split.prompt, *halfway, *(given[i] for i in split.prompt_inputs))

    def kept(self, part: Part) -> NDArray[np.int64] | None:
        queries = self._manifest.sizes.queries
        return kept_queries(queries) if part.keeps else None

    def versions(self) -> dict[str, str]:
        return {
            **super().versions(),
            **{k: v for k, v in self._manifest.versions.items() if k == "apache-tvm"},
        }

    def runner(self, part: str, inputs: Mapping[str, NDArray[Any]]) -> Run:
        if part not in PROMPT_ROWS:
            run = super().runner(part, inputs)

            def on_a_new_picture() -> dict[str, Any]:
                try:
                    return run()
                finally:
                    self._of_picture.clear()

            return on_a_new_picture
        if self._image is None:
            self._prepare()
        return lambda: self._prompts(PROMPT_ROWS[part])

    def _prepare(self) -> None:
        assert self._model is not None
        side = self._manifest.sizes.image
        self._picture = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
        self._image = self._model.encode_image(self._picture)
        # A score that KEPT objects of the first phrase exceed: what a picture full of them
        # costs doesn't depend on what random weights think of 0.5.
        scores = self._model.segment(self._image, text=_PHRASES[0], threshold=0.0).scores
        self._threshold = float(np.sort(scores)[::-1][: KEPT + 1][-2:].mean())

    def _prompts(self, row: PromptRow) -> dict[str, Any]:
        model = self._model
        assert model is not None

        def segment(text: Any) -> Any:
            image = model.encode_image(self._picture) if row.fresh else self._image
            return model.segment(image, text=text, threshold=self._threshold)

        phrases = list(_PHRASES[: row.prompts])
        results = segment(phrases) if row.together else [segment(phrase) for phrase in phrases]
        return {"scores": np.concatenate([r.scores for r in results])}


class _Remembering:
    """An artifact's functions, but that the vision encoder, and the tracker's neck, run once and
    give the same again.

    So what ``encode_image`` does beside it can be measured, through the same interface.
    """

    def __init__(self, table: Any) -> None:
        self._table = table
        self._features: dict[str, Any] = {}

    def __call__(self, name: str, *inputs: Any) -> Any:
        if name not in ("vision_encoder", "tracker_neck"):
            return self._table(name, *inputs)
        if name not in self._features:
            self._features[name] = self._table(name, *inputs)
        return self._features[name]

    def named(self, name: str, *inputs: Any) -> dict[str, Any]:
        """As ``FunctionTable.named``, which would go past what is remembered."""
        names = (spec.name for spec in self._table.components[name].outputs)
        return dict(zip(names, self(name, *inputs), strict=True))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._table, name)


_PHRASES = ("dog", "cat", "cup", "tree", "car", "shoe", "door", "hand")
