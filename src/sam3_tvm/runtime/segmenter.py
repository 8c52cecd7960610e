"""The model: pictures and prompts in, masks, boxes and scores out."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sam3_tvm import artifact
from sam3_tvm.components import BATCH, FOR_CLICKS, FOR_VIDEO
from sam3_tvm.manifest import Manifest
from sam3_tvm.progress import Progress, silent
from sam3_tvm.runtime.clicks import Clicker, ClickResult
from sam3_tvm.runtime.encoded import EncodedImage
from sam3_tvm.runtime.frames import Frames, FrameSource, open_frames
from sam3_tvm.runtime.functions import FunctionTable
from sam3_tvm.runtime.image import Picture, preprocess, read_picture
from sam3_tvm.runtime.module import load_functions
from sam3_tvm.runtime.per_image import ImageFunctions
from sam3_tvm.runtime.prompts import Prompt, build_prompts, check_threshold
from sam3_tvm.runtime.results import Result
from sam3_tvm.runtime.tokenizer import Tokenizer
from sam3_tvm.runtime.track_functions import VideoFunctions
from sam3_tvm.runtime.tracking import TrackSession

__all__ = ["Model", "load"]

# Prompts that go through the detector together. More gain little: by then every matrix
# product is large, and memory grows with each.
_PROMPTS_AT_ONCE = 8

# A phrase's features are 32 KB at SAM 3's size.
_CACHED_PHRASES = 256

_Features = tuple[NDArray[np.float32], NDArray[np.bool_]]


def load(
    path: str | os.PathLike[str], threads: int | None = None, integrity: str = "sizes"
) -> Model:
    """Load an artifact, made by ``sam3-tvm compile``, to segment pictures with.

    Loading runs native code from the folder: load only what you made or trust.

    Args:
        path: the artifact's folder.
        threads: threads that a model computes with; by default ``TVM_NUM_THREADS`` or
            ``OMP_NUM_THREADS`` from the environment, else the cores that the process may use.
        integrity: ``"sizes"`` checks the length of every file, ``"full"`` its SHA-256 as well.

    Raises:
        ArtifactError: no artifact, a damaged or too new one, or one for another machine.
        Sam3Error: a number of threads below 1.
    """
    opened = artifact.open(path, integrity)
    opened.check_host()
    manifest = opened.manifest
    if manifest.left_out:
        raise artifact.ArtifactError(
            f"{path}: was compiled without {', '.join(manifest.left_out)}, to be measured; "
            "compile it again to segment pictures"
        )
    rules = manifest.tokenizer
    file, length = opened.path / rules.file, manifest.sizes.text_tokens
    tokenizer = Tokenizer(file, length, rules.pad_id, rules.mask_by_id)
    return Model(load_functions(opened, threads), tokenizer, manifest, opened.fingerprint)


class Model:
    """A compiled SAM 3. Any number of threads may use one at the same time.

    Args:
        functions: the compiled functions.
        tokenizer: phrases to ids and mask, int64 [phrases, tokens] each.
        manifest: sizes, preprocessing and the reference's rules.
        fingerprint: the artifact's; encoded images carry it.

    Attributes:
        manifest: as given.
        fingerprint: as given.
    """

    def __init__(
        self,
        functions: FunctionTable,
        tokenizer: Callable[[Sequence[str]], tuple[NDArray[np.int64], NDArray[np.int64]]],
        manifest: Manifest,
        fingerprint: str,
    ) -> None:
        self.manifest = manifest
        self.fingerprint = fingerprint
        self._call = functions
        pictured = [name for name in manifest.components if name not in FOR_VIDEO]
        self._on_image = ImageFunctions(functions, manifest, pictured)
        self._clicker = Clicker(functions, self._on_image, manifest)
        self._tokenize = tokenizer
        self._phrases: OrderedDict[str, _Features] = OrderedDict()
        self._phrases_lock = threading.Lock()

    def __repr__(self) -> str:
        source, target = self.manifest.source, self.manifest.target
        return f"Model({source.checkpoint} from {source.kind}, for {target.level})"

    def encode_image(self, picture: Picture) -> EncodedImage:
        """Run the vision encoder: the costly part, which all prompts of a picture share.

        Args:
            picture: a path, a PIL image, or an array; see :func:`read_picture` for which. An
                EXIF orientation is applied, and coordinates are those of the upright picture.

        Raises:
            ImageError: what cannot be read or is no picture.
        """
        return self._encode(read_picture(picture), picture)

    def load_image(self, path: str | os.PathLike[str]) -> EncodedImage:
        """Read an encoded picture that :meth:`EncodedImage.save` wrote, bit for bit.

        Raises:
            ImageError: no such file, another kind of file, or one that another artifact made.
        """
        return EncodedImage.load(path, self.fingerprint, self._on_image.names)

    @overload
    def segment(
        self,
        image: EncodedImage | Picture,
        text: str | None = None,
        boxes: ArrayLike | None = None,
        box_labels: ArrayLike | None = None,
        threshold: float = 0.5,
        progress: Progress = silent,
        *,
        points: ArrayLike | None = None,
        point_labels: ArrayLike | None = None,
    ) -> Result: ...

    @overload
    def segment(
        self,
        image: EncodedImage | Picture,
        text: list[str] | tuple[str, ...],
        boxes: ArrayLike | Sequence[ArrayLike | None] | None = None,
        box_labels: ArrayLike | Sequence[ArrayLike | None] | None = None,
        threshold: float = 0.5,
        progress: Progress = silent,
        *,
        points: ArrayLike | Sequence[ArrayLike | None] | None = None,
        point_labels: ArrayLike | Sequence[ArrayLike | None] | None = None,
    ) -> list[Result]: ...

    def segment(
        self,
        image: EncodedImage | Picture,
        text: str | list[str] | tuple[str, ...] | None = None,
        boxes: Any = None,
        box_labels: Any = None,
        threshold: float = 0.5,
        progress: Progress = silent,
        *,
        points: Any = None,
        point_labels: Any = None,
    ) -> Result | list[Result]:
        """Find every object that a phrase names, that looks like those in boxes or under points,
        or several of these.

        Args:
            image: a picture, or one that :meth:`encode_image` made, which saves encoding it.
            text: a phrase; a list of them gives a list of results; None with boxes or points
                alone.
            boxes: examples, x0, y0, x1, y1 in the picture's pixels, [N, 4]; cut at its edges.
                With a list of phrases either one array for all or a list with one, or None,
                for each.
            box_labels: 1 for objects like the one in the box, 0 for objects unlike it, one per
                box and arranged like them; by default all 1.
            threshold: objects with a higher score are kept, 0 to 1.
            progress: called when a step begins, with the prompts done and all of them.
            points: x, y in the picture's pixels, [M, 2], on examples, arranged like boxes. For
                artifacts whose source takes points (``manifest.sizes.points``).
            point_labels: 1 for a point on an object like those meant, 0 for one unlike them, one
                per point; by default all 1.

        Returns:
            What was found, best first; a list of results if ``text`` is a list.

        Raises:
            PromptError: a phrase, box, point, label or threshold that cannot be used, or points
                for an artifact that takes none.
            ImageError: a picture that cannot be read, or that another artifact encoded.
        """
        check_threshold(threshold)
        encoded, rgb, size = self._opened(image)
        prompts = build_prompts(
            text,
            boxes,
            box_labels,
            size,
            visual_text=self.manifest.source.reference.visual_text,
            max_boxes=self._bound("geometry_encoder", "boxes"),
            points=points,
            point_labels=point_labels,
            max_points=self._bound("geometry_encoder", "points") if self._takes_points else None,
        )
        if encoded is None:
            progress("picture", 0, len(prompts))
            assert rgb is not None
            encoded = self._encode(rgb, image, "concepts")  # type: ignore[arg-type]
        results = self._segment(encoded, prompts, threshold, progress)
        return results[0] if text is None or isinstance(text, str) else results

    def click(
        self,
        image: EncodedImage | Picture,
        points: Any = None,
        point_labels: Any = None,
        box: Any = None,
        mask: Any = None,
        multimask: bool = True,
    ) -> ClickResult | list[ClickResult]:
        """Segment the object that is clicked, boxed, or roughly masked.

        Each argument is for one object, or holds those of several: one more axis, or a list with
        an entry, or None, for each. Several objects are answered each as it would be alone.

        Args:
            image: a picture, or one that :meth:`encode_image` made, which saves encoding it.
            points: x, y in the picture's pixels, [N, 2].
            point_labels: 1 for a point on the object, 0 for one beside it, [N]; by default all 1.
            box: x0, y0, x1, y1 around the object, in the picture's pixels; cut at its edges.
            mask: logits [4S, 4S] of an earlier answer (``result.logits[result.best]``), to be
                refined by the clicks of both calls.
            multimask: give the masks that a click could mean, three of SAM 3, rather than one.

        Returns:
            The answer; a list of answers if there are several objects.

        Raises:
            PromptError: clicks that cannot be used, such as one outside the picture; or an
                artifact that is not for clicks (``manifest.sizes.tasks``).
            ImageError: a picture that cannot be read, or that another artifact encoded.
        """
        encoded, rgb, size = self._opened(image)
        clicks, several = self._clicker.build(points, point_labels, box, mask, size)
        if encoded is None:
            assert rgb is not None
            encoded = self._encode(rgb, image, "clicks")  # type: ignore[arg-type]
        results = self._clicker.decode(encoded.features, clicks, size, multimask, encoded.picture)
        return results if several else results[0]

    def track(self, source: FrameSource | Frames | None = None) -> TrackSession:
        """Follow objects through a film, or through live input.

        Args:
            source: a video file, a folder of pictures, a sequence of pictures, or an iterator of
                frames; see :func:`~sam3_tvm.runtime.frames.open_frames`. None for live input,
                whose frames are given to :meth:`TrackSession.step` as they come.

        Returns:
            A session, which holds its own state; the model may be used for other things meanwhile.

        Raises:
            PromptError: an artifact that is not for video (``manifest.sizes.tasks``).
            FramesError: a source that cannot be read.
        """
        functions = VideoFunctions(self._call, self.manifest)
        frames = None if source is None else open_frames(source)
        return TrackSession(functions, frames, self.fingerprint)

    def _opened(
        self, image: EncodedImage | Picture
    ) -> tuple[EncodedImage | None, NDArray[np.uint8] | None, tuple[int, int]]:
        """The encoding if there is one, else the picture's values; and its height and width.

        What is asked of a picture is checked before it is encoded, which takes a while.
        """
        if isinstance(image, EncodedImage):
            image.check_made_by(self.fingerprint)
            return image, None, image.size
        rgb = read_picture(image)
        return None, rgb, (rgb.shape[0], rgb.shape[1])

    def _encode(
        self, rgb: NDArray[np.uint8], picture: Picture, task: str | None = None
    ) -> EncodedImage:
        """Encode a picture for a task that is all it will be used for, or for any."""
        functions = [
            name
            for name in self.manifest.components
            if task is None or (name in FOR_CLICKS) == (task == "clicks")
        ]
        pixels = preprocess(rgb, self.manifest.preprocessing)
        named = self._named("vision_encoder", pixels)
        if "tracker_neck" in functions:
            named |= self._named("tracker_neck", named["backbone"])
        features = self._on_image.keep(named, functions)
        return EncodedImage(features, (rgb.shape[0], rgb.shape[1]), self.fingerprint, picture)

    def _named(self, function: str, *inputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """A function's outputs by name."""
        specs = self.manifest.components[function].outputs
        outputs = self._call(function, *inputs)
        return {spec.name: output for spec, output in zip(specs, outputs, strict=True)}

    def _segment(
        self, image: EncodedImage, prompts: Sequence[Prompt], threshold: float, progress: Progress
    ) -> list[Result]:
        results: dict[int, Result] = {}
        for chunk in self._chunks(prompts):
            progress("detect", len(results), len(prompts))
            chosen = [prompts[i] for i in chunk]
            prompt, prompt_mask = self._encode_prompts(image, chosen)
            (memory,) = self._on_image("detr_encoder", image.features, prompt, prompt_mask)
            queries, boxes, presence = self._call("detr_decoder", memory, prompt, prompt_mask)
            (logits,) = self._call("scoring", queries, prompt, prompt_mask)
            scores = _sigmoid(logits) * _sigmoid(presence)
            for row, index in enumerate(chunk):
                progress("masks", len(results), len(prompts))
                kept = np.flatnonzero(scores[row] > threshold)
                kept = kept[np.argsort(-scores[row, kept], kind="stable")]
                at = slice(row, row + 1)
                masks = self._masks(
                    image, queries[at, kept], memory[at], prompt[at], prompt_mask[at]
                )
                results[index] = Result(
                    chosen[row].text,
                    image.size,
                    _to_pixels(boxes[row, kept], image.size),
                    scores[row, kept],
                    kept,
                    masks,
                    self._resize_masks,
                    image.picture,
                )
        return [results[i] for i in range(len(prompts))]

    def _chunks(self, prompts: Sequence[Prompt]) -> Iterator[list[int]]:
        """Indices of prompts that go through the detector together.

        Geometry lengthens the prompt, even by its CLS token alone: prompts that have it and
        prompts that don't are kept apart, so that each is what the reference makes of it.
        """
        for geometry in (False, True):
            chosen = [i for i, p in enumerate(prompts) if self._has_geometry(p) == geometry]
            step = min(_PROMPTS_AT_ONCE, self._bound("detr_encoder", BATCH.name))
            yield from (chosen[i : i + step] for i in range(0, len(chosen), step))

    def _has_geometry(self, prompt: Prompt) -> bool:
        if self.manifest.source.reference.geometry_without_boxes:
            return True
        return len(prompt.boxes) > 0 or len(prompt.points) > 0

    @property
    def _takes_points(self) -> bool:
        return self.manifest.sizes.points

    def _encode_prompts(self, image: EncodedImage, prompts: Sequence[Prompt]) -> _Features:
        """The prompts' tokens: float32 [B, P, D], and which of them count, bool [B, P]."""
        phrases = [p.text for p in prompts]
        cached = self._encode_phrases(phrases)
        features = np.concatenate([cached[phrase][0] for phrase in phrases])
        mask = np.concatenate([cached[phrase][1] for phrase in phrases])
        if not self._has_geometry(prompts[0]):
            return features, mask
        geometry_inputs = _padded([p.boxes for p in prompts], [p.labels for p in prompts])
        if self._takes_points:
            points = _padded([p.points for p in prompts], [p.point_labels for p in prompts])
            geometry_inputs = (*geometry_inputs, *points)
        # One at a time: a prompt's few tokens look at the whole picture, so that a batch would
        # take more to repeat the picture's keys and values than it saves.
        rows = [slice(row, row + 1) for row in range(len(prompts))]
        encoded = [
            self._on_image("geometry_encoder", image.features, *(x[at] for x in geometry_inputs))
            for at in rows
        ]
        geometry = np.concatenate([row[0] for row in encoded])
        geometry_mask = np.concatenate([row[1] for row in encoded])
        return (
            np.concatenate([features, geometry], 1),
            np.concatenate([mask, geometry_mask], 1),
        )

    def _encode_phrases(self, phrases: Sequence[str]) -> dict[str, _Features]:
        """Each phrase's features and mask, with one call for those that are not cached."""
        found: dict[str, _Features] = {}
        with self._phrases_lock:
            for phrase in phrases:
                if phrase in self._phrases:
                    self._phrases.move_to_end(phrase)
                    found[phrase] = self._phrases[phrase]
        new = [phrase for phrase in dict.fromkeys(phrases) if phrase not in found]
        if not new:
            return found
        ids, mask = self._tokenize(new)
        (features,) = self._call("text_encoder", ids, mask)
        for row, phrase in enumerate(new):
            # A copy, or one phrase would keep the whole batch in memory.
            found[phrase] = (features[row : row + 1].copy(), mask[row : row + 1].astype(np.bool_))
        with self._phrases_lock:
            self._phrases.update((phrase, found[phrase]) for phrase in new)
            while len(self._phrases) > _CACHED_PHRASES:
                self._phrases.popitem(last=False)
        return found

    def _masks(
        self,
        image: EncodedImage,
        queries: NDArray[np.float32],
        memory: NDArray[np.float32],
        prompt: NDArray[np.float32],
        prompt_mask: NDArray[np.bool_],
    ) -> NDArray[np.float32]:
        """Mask logits of the kept queries [1, K, D] of one prompt: float32 [K, 4S, 4S].

        One prompt at a time: the finest features are 85 MB at SAM 3's size.
        """
        if queries.shape[1] == 0:
            side = 4 * self.manifest.sizes.grid
            return np.zeros((0, side, side), np.float32)
        masks, _semantic = self._on_image(
            "mask_decoder", image.features, queries, memory, prompt, prompt_mask
        )
        logits: NDArray[np.float32] = masks[0]
        return logits

    def _resize_masks(
        self, logits: NDArray[np.float32], size: tuple[int, int]
    ) -> NDArray[np.bool_]:
        (resized,) = self._call("resize_masks", logits, size)
        return resized

    def _bound(self, function: str, dim: str) -> int:
        """The most that a dimension of a function may be."""
        return self.manifest.components[function].dims[dim].max


def _padded(
    values: Sequence[NDArray[np.float32]], labels: Sequence[NDArray[np.int64]]
) -> tuple[NDArray[Any], ...]:
    """Boxes or points of several prompts, filled up with zeros to the longest: values
    [B, N, ...], their labels, int64 [B, N], and which of them count, bool [B, N]."""
    count = max(map(len, values))
    padded = np.zeros((len(values), count, values[0].shape[1]), np.float32)
    of_each = np.zeros((len(values), count), np.int64)
    given = np.zeros((len(values), count), np.bool_)
    for row, (ours, label) in enumerate(zip(values, labels, strict=True)):
        padded[row, : len(ours)] = ours
        of_each[row, : len(ours)] = label
        given[row, : len(ours)] = True
    return padded, of_each, given


def _sigmoid(x: NDArray[np.float32]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # exp of a large number is infinite, and its inverse 0
        y: NDArray[np.float32] = np.float32(1) / (np.float32(1) + np.exp(-x))
    return y


def _to_pixels(boxes: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Centre, width and height as fractions to x0, y0, x1, y1 in pixels."""
    centre, half = boxes[:, :2], boxes[:, 2:] * np.float32(0.5)
    scale = np.array([size[1], size[0]] * 2, np.float32)
    corners: NDArray[np.float32] = np.concatenate([centre - half, centre + half], 1) * scale
    return corners
