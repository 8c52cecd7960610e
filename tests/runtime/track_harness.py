"""The runtime with components in PyTorch for compiled functions, beside transformers' sessions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch

from sam3_tvm import artifact
from sam3_tvm.abi import abi
from sam3_tvm.runtime.execution.functions import FunctionTable
from sam3_tvm.runtime.model import Model
from sam3_tvm.sources import open_source
from sam3_tvm.sources.base import ShowSpec, VideoReferenceFrame
from sam3_tvm.sources.huggingface.video_reference import ReferenceFilm
from tests.video_scenes import frame

# Enough pixels for one of them to be less than a thousandth of a mask.
HEIGHT, WIDTH = 180, 240


class Functions:
    """Invokes a source's components, and remembers what pictures were encoded to.

    Attributes:
        calls: names, in order.
    """

    def __init__(self, source) -> None:
        self.calls: list[str] = []
        self._source = source
        self._modules = {name: source.component(name) for name in abi(source.sizes)}
        self._encoded: dict[bytes, list[np.ndarray]] = {}

    def __call__(self, name, inputs):
        self.calls.append(name)
        key = inputs[0].tobytes() if name == "vision_encoder" else None
        if key in self._encoded:
            return self._encoded[key]
        tensors = [torch.from_numpy(x) if isinstance(x, np.ndarray) else x for x in inputs]
        with torch.no_grad(), self._source.patched():
            outputs = self._modules[name](*tensors)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        arrays = [np.ascontiguousarray(o.numpy()) for o in outputs]
        if key is not None:
            self._encoded[key] = arrays
        return arrays


class Studio:
    """One source on both sides, with each frame encoded once on each.

    Args:
        checkpoint: of random weights.
        image_size: side of the model's picture in pixels; None for the checkpoint's own.
    """

    def __init__(self, checkpoint: str, image_size: int | None = None) -> None:
        self.source = source = open_source(checkpoint, image_size=image_size)
        self.functions = Functions(source)
        self._films: dict[int, ReferenceFilm] = {}
        manifest = artifact.Manifest(
            source=artifact.Source(source.kind, checkpoint, source.reference),
            target=artifact.Target("llvm", "PyTorch", "none", "none", ()),
            sizes=source.sizes,
            components=abi(source.sizes),
            preprocessing=source.preprocessing,
            tokenizer=artifact.TokenizerRules("tokenizer.json", source.pad_id),
            licence=artifact.Licence(None, None),
            versions={},
            runtime_libraries=(),
            files={},
            sam3_tvm="0",
            stages={},
            arithmetic=dict.fromkeys(abi(source.sizes), "float32"),
            clicks=source.clicks,
            video=source.video,
            video_concepts=source.video_concepts,
        )
        table = FunctionTable(manifest.components, self.functions)
        self.model = Model(table, _no_tokenizer, manifest, "made of PyTorch")

    def film(self, frames: Sequence[np.ndarray] | None) -> ReferenceFilm:
        """A session of the reference; those of the same frames share their features."""
        beside = self._films.get(id(frames))
        made = ReferenceFilm(
            self.source.video_tracker, self.source.preprocessing, frames, 1000, beside
        )
        if frames is not None:
            self._films.setdefault(id(frames), made)
        return made


def _no_tokenizer(phrases):
    raise AssertionError("films need no phrases")


def show(session, spec: ShowSpec):
    """A prompt of the reference, in our session."""
    return session.add(
        spec.object_id,
        spec.frame,
        points=list(spec.points) or None,
        point_labels=list(spec.labels) or None,
        box=spec.box,
        mask=spec.mask,
    )


def assert_same(ours, wanted: VideoReferenceFrame) -> None:
    """One frame beside the reference's: ids, scores, and masks to one pixel in a thousand."""
    assert ours.index == wanted.index
    assert ours.objects == wanted.objects
    np.testing.assert_allclose(ours.scores, wanted.scores, atol=1e-4, err_msg=f"{ours.index}")
    for mask, theirs in zip(ours.masks, wanted.masks, strict=True):
        union = (mask | theirs).sum()
        iou = (mask & theirs).sum() / union if union else 1.0
        assert iou >= 0.999, f"frame {ours.index}: IoU {iou}"


def assert_filled(frames: Iterable[VideoReferenceFrame], share: float = 0.9) -> None:
    """Masks neither empty nor full on nearly all frames, or there would be nothing to compare."""
    areas = np.array([mask.mean() for frame in frames for mask in frame.masks])
    assert np.mean((areas > 0.01) & (areas < 0.99)) >= share, areas


def compare(ours: Iterable, wanted: Iterable[VideoReferenceFrame], share: float = 0.9) -> list:
    """All frames of two passes; returns the reference's."""
    wanted = list(wanted)
    ours = list(ours)
    assert [frame.index for frame in ours] == [frame.index for frame in wanted]
    for a, b in zip(ours, wanted, strict=True):
        assert_same(a, b)
    assert_filled(wanted, share)
    return wanted


def together(*passes: Iterable[VideoReferenceFrame]) -> list[VideoReferenceFrame]:
    """Passes of sessions with one object each, as of one with all of them; in the first's order."""
    found: dict[int, list[VideoReferenceFrame]] = {}
    for one in passes:
        for answer in one:
            found.setdefault(answer.index, []).append(answer)
    return [
        VideoReferenceFrame(
            index,
            [name for one in frames for name in one.objects],
            np.concatenate([one.masks for one in frames]),
            np.concatenate([one.scores for one in frames]),
        )
        for index, frames in found.items()
    ]


def moving_shapes(count: int) -> list[np.ndarray]:
    """A film of a disc that is hidden for a while, and a star that leaves and comes back."""
    return [frame(index, (HEIGHT, WIDTH)).rgb for index in range(count)]


def shape(index: int, number: int) -> np.ndarray:
    """Where one of the shapes is: the disc, the square, the star."""
    return frame(index, (HEIGHT, WIDTH)).masks[number]
