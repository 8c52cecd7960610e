"""The model: pictures and prompts in, masks, boxes and scores out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sam3_tvm.manifest import Manifest
from sam3_tvm.progress import Progress, silent
from sam3_tvm.rules import ConceptVideoRules
from sam3_tvm.runtime.clicks.clicker import Clicker, ClickResult
from sam3_tvm.runtime.concepts.detector import ConceptDetector, Tokenize
from sam3_tvm.runtime.concepts.exemplar import Exemplar, Like, checked_exemplars, checked_name
from sam3_tvm.runtime.concepts.prompts import check_boxes, check_threshold
from sam3_tvm.runtime.concepts.results import Result
from sam3_tvm.runtime.concepts.views import views as views_of
from sam3_tvm.runtime.execution.functions import FunctionTable
from sam3_tvm.runtime.execution.image_functions import ImageFunctions
from sam3_tvm.runtime.pictures.arguments import PromptError, brief, checked_flag
from sam3_tvm.runtime.pictures.encoded import EncodedImage
from sam3_tvm.runtime.pictures.encoder import Encoder
from sam3_tvm.runtime.pictures.image import ImageError, Picture, Pictures, checked_list
from sam3_tvm.runtime.pictures.kept_picture import KeptPicture, keep_picture
from sam3_tvm.runtime.pictures.suppression import check_nms
from sam3_tvm.runtime.video.concepts.arbiter import ConceptArbiter
from sam3_tvm.runtime.video.frames import Frames
from sam3_tvm.runtime.video.functions import VideoFunctions
from sam3_tvm.runtime.video.open import FrameSource, open_frames
from sam3_tvm.runtime.video.session import TrackSession

__all__ = ["Model"]


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
        tokenizer: Tokenize,
        manifest: Manifest,
        fingerprint: str,
    ) -> None:
        self.manifest = manifest
        self.fingerprint = fingerprint
        self._call = functions
        # The encoder calls without_memory itself.
        pictured = [
            c.name
            for c in manifest.components.values()
            if c.task != "video" and c.name != "without_memory"
        ]
        self._on_image = ImageFunctions(functions, manifest, pictured)
        self._encoder = Encoder(functions, manifest, self._on_image)
        self._clicker = Clicker(functions, self._on_image, manifest)
        self._detector = ConceptDetector(functions, self._on_image, tokenizer, manifest)

    def __repr__(self) -> str:
        source, target = self.manifest.source, self.manifest.target
        return f"Model({source.checkpoint} from {source.kind}, for {target.level})"

    @overload
    def encode_image(self, picture: Picture) -> EncodedImage: ...

    @overload
    def encode_image(self, picture: Pictures[Picture]) -> list[EncodedImage]: ...

    def encode_image(
        self, picture: Picture | Pictures[Picture]
    ) -> EncodedImage | list[EncodedImage]:
        """Run the vision encoder: the costly part, which all prompts of a picture share.

        Args:
            picture: a path, a file's bytes or file object, a PIL image, or an array; see
                :func:`~sam3_tvm.runtime.pictures.image.read_picture`. An EXIF orientation is
                applied, and coordinates are those of the upright picture.
                A list of pictures gives a list of encodings, one after the other.

        Raises:
            ImageError: what cannot be read or is no picture.
        """
        if isinstance(picture, list | tuple):
            return [self._encode(*keep_picture(one)) for one in checked_list(picture)]
        return self._encode(*keep_picture(picture))

    def load_image(self, path: str | os.PathLike[str]) -> EncodedImage:
        """Read an encoded picture that :meth:`EncodedImage.save` wrote, bit for bit.

        Raises:
            ImageError: no such file, another kind of file, or one that another artifact made.
        """
        return EncodedImage.load(path, self.fingerprint, self._on_image.names)

    @overload
    def segment(
        self,
        image: Pictures[EncodedImage | Picture],
        text: str | None = None,
        boxes: None = None,
        box_labels: None = None,
        threshold: float = 0.5,
        progress: Progress = silent,
        *,
        nms: float | None = None,
        like: Like = None,
    ) -> list[Result]: ...

    @overload
    def segment(
        self,
        image: Pictures[EncodedImage | Picture],
        text: list[str] | tuple[str, ...] | list[str | None],
        boxes: None = None,
        box_labels: None = None,
        threshold: float = 0.5,
        progress: Progress = silent,
        *,
        nms: float | None = None,
        like: Like = None,
    ) -> list[list[Result]]: ...

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
        nms: float | None = None,
        like: Like = None,
    ) -> Result: ...

    @overload
    def segment(
        self,
        image: EncodedImage | Picture,
        text: list[str] | tuple[str, ...] | list[str | None],
        boxes: ArrayLike | Sequence[ArrayLike | None] | None = None,
        box_labels: ArrayLike | Sequence[ArrayLike | None] | None = None,
        threshold: float = 0.5,
        progress: Progress = silent,
        *,
        points: ArrayLike | Sequence[ArrayLike | None] | None = None,
        point_labels: ArrayLike | Sequence[ArrayLike | None] | None = None,
        nms: float | None = None,
        like: Like = None,
    ) -> list[Result]: ...

    def segment(
        self,
        image: EncodedImage | Picture | Pictures[EncodedImage | Picture],
        text: str | list[str] | tuple[str, ...] | list[str | None] | None = None,
        boxes: Any = None,
        box_labels: Any = None,
        threshold: float = 0.5,
        progress: Progress = silent,
        *,
        points: Any = None,
        point_labels: Any = None,
        nms: float | None = None,
        like: Like = None,
    ) -> Result | list[Result] | list[list[Result]]:
        """Find every object that a phrase names, that looks like those in boxes or under points,
        here or on other pictures, or several of these.

        Args:
            image: a picture, or one that :meth:`encode_image` made, which saves encoding it; or a
                list of these, to look for phrases in each.
            text: a phrase; a list of them gives a list of results; None with boxes, points or
                ``like`` alone, also in a list where an entry of ``like`` goes with it.
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
            nms: leave an object out of a prompt's result if its mask overlaps that of a better
                one by more than this intersection over union, 0 to 1; by default, as in the
                reference, all stay. See :meth:`Result.nms`.
            like: examples on other pictures, as :meth:`exemplar` makes them: one, or several
                together, for every phrase; with a list of phrases also a list with one, a list of
                them, or None for each. Where they are all that is given, a score is the product
                of what they give to an object and of what the object gives back to them; see
                :mod:`sam3_tvm.runtime.concepts.likeness`.

        Returns:
            What was found, best first; a list of results if ``text`` is a list. Of a list of
            pictures a list of what each gives by itself. A phrase beyond
            the model's tokens (32 of SAM 3) loses its end, as in the reference: a
            ``PhraseWarning`` says so, and ``result.text_read`` what is left.

        Raises:
            PromptError: a phrase, box, point, label, threshold or ``nms`` that cannot be used, or
                points for an artifact that takes none; boxes or points with a list of pictures;
                an exemplar that another artifact made.
            ImageError: a picture that cannot be read, or that another artifact encoded.
        """
        check_threshold(threshold)
        if nms is not None:
            check_nms(nms)
        if isinstance(image, list | tuple):
            if not all(given is None for given in (boxes, box_labels, points, point_labels)):
                raise PromptError(
                    "boxes and points are in one picture's pixels: give one picture a call"
                )
            if text is None and like is None:
                raise PromptError("nothing to look for: several pictures take text")
            each: list[Any] = [
                self.segment(one, text, None, None, threshold, progress, nms=nms, like=like)
                for one in checked_list(image)
            ]
            return each
        encoded, read, size = self._opened(image)
        several = isinstance(text, list | tuple)
        examples = checked_exemplars(
            like, len(text) if several and text is not None else 1, several, self.fingerprint
        )
        prompts = self._detector.build(
            text, boxes, box_labels, points, point_labels, size, examples
        )
        if encoded is None:
            progress("picture", 0, len(prompts))
            assert read is not None
            encoded = self._encode(*read, "concepts")
        results = self._detector.detect(encoded, prompts, threshold, progress)
        if nms is not None:
            results = [result.nms(nms) for result in results]
        return results[0] if text is None or isinstance(text, str) else results

    def exemplar(
        self,
        image: EncodedImage | Picture,
        boxes: ArrayLike,
        box_labels: ArrayLike | None = None,
        *,
        name: str | None = None,
        views: bool = True,
    ) -> Exemplar:
        """Make boxes on a picture an example for any other, as ``segment(other, like=...)``.

        Args:
            image: the picture that the boxes are on, or one that :meth:`encode_image` made.
            boxes: x0, y0, x1, y1 in its pixels, [N, 4]; cut at its edges.
            box_labels: 1 for an example, 0 for what is not meant, one per box; by default all 1.
            name: what results call what it finds, where no phrase does.
            views: whether it is seen mirrored and closer, too, which takes two encodings more;
                an encoded picture whose pixels aren't to be had any more isn't.

        Raises:
            PromptError: no box, or boxes, labels or a name that cannot be used.
            ImageError: a picture that cannot be read, or that another artifact encoded.
        """
        check_boxes(boxes)
        checked_flag("views", views)
        encoded, read, size = self._opened(image)
        name = checked_name(name)
        (prompt,) = self._detector.build(None, boxes, box_labels, None, None, size)
        if encoded is None:
            assert read is not None
            encoded = self._encode(*read, "concepts")
        meant, rgb = prompt.boxes[prompt.labels == 1], None
        if views and len(meant):
            rgb = _pixels(encoded) if read is None else read[0]
        # One after the other: each has the features of a picture.
        seen = (
            (self._encode(view, KeptPicture(view), "concepts"), where)
            for view, where in ([] if rgb is None else views_of(rgb, meant))
        )
        return self._detector.exemplar(encoded, prompt.boxes, prompt.labels, name, seen)

    def load_exemplar(self, path: str | os.PathLike[str]) -> Exemplar:
        """Read an exemplar that :meth:`Exemplar.save` wrote, bit for bit.

        Raises:
            ImageError: no such file, another kind of file, or one that another artifact made.
        """
        return Exemplar.load(path, self.fingerprint, self._on_image.kept("detr_encoder"))

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
        encoded, read, size = self._opened(image)
        multimask = checked_flag("multimask", multimask)
        clicks, several = self._clicker.build(points, point_labels, box, mask, size)
        if encoded is None:
            assert read is not None
            encoded = self._encode(*read, "clicks")
        results = self._clicker.decode(encoded.features, clicks, size, multimask, encoded.picture)
        return results if several else results[0]

    def track(
        self,
        source: FrameSource | Frames | None = None,
        *,
        live: bool = False,
        rules: ConceptVideoRules | None = None,
    ) -> TrackSession:
        """Follow objects through a film, or through live input: those that are shown to the
        session, and those that phrases name.

        Args:
            source: a video file, a folder of pictures, a sequence of pictures, or an iterator of
                frames; see :func:`~sam3_tvm.runtime.video.open.open_frames`. None for live input,
                whose frames are given to :meth:`TrackSession.step` as they come.
            live: give the results of phrases at once, as of live input, where nothing can be taken
                back: no object is removed for what its first frames make of it.
            rules: how objects of phrases are found and held to one another; by default as the
                artifact says, ``manifest.video_concepts``.

        Returns:
            A session, which holds its own state; the model may be used for other things meanwhile.

        Raises:
            PromptError: an artifact that is not for video (``manifest.sizes.tasks``), or rules that
                are none.
            FramesError: a source that cannot be read.
        """
        functions = VideoFunctions(self._call, self.manifest)
        live = checked_flag("live", live)
        if not isinstance(rules, ConceptVideoRules | None):
            raise PromptError(f"rules are a ConceptVideoRules, not {brief(rules)}")
        rules = rules or self.manifest.video_concepts
        assert rules is not None, "which an artifact for video has"
        frames = None if source is None else open_frames(source)
        arbiter = ConceptArbiter(self._detector, functions, rules)
        return TrackSession(functions, frames, self.fingerprint, arbiter, live)

    def _opened(
        self, image: EncodedImage | Picture
    ) -> tuple[EncodedImage | None, tuple[NDArray[np.uint8], KeptPicture] | None, tuple[int, int]]:
        """The encoding if there is one, else the picture as read; and its height and width.

        What is asked of a picture is checked before it is encoded, which takes a while.
        """
        if isinstance(image, EncodedImage):
            image.check_made_by(self.fingerprint)
            return image, None, image.size
        rgb, kept = keep_picture(image)
        return None, (rgb, kept), (rgb.shape[0], rgb.shape[1])

    def _encode(
        self, rgb: NDArray[np.uint8], picture: KeptPicture, task: str | None = None
    ) -> EncodedImage:
        """Encode a picture for a task that is all it will be used for, or for any."""
        components = self.manifest.components.values()
        functions = [c.name for c in components if task in (None, c.task)]
        features = self._encoder(rgb, functions)
        return EncodedImage(features, (rgb.shape[0], rgb.shape[1]), self.fingerprint, picture)


def _pixels(encoded: EncodedImage) -> NDArray[np.uint8] | None:
    """What was encoded; None where it isn't to be had any more."""
    if encoded.picture is None:
        return None
    try:
        return encoded.picture.read()
    except ImageError:
        return None
