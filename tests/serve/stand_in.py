"""A model without weights: of a picture it knows the mean colour, and it finds rows and columns."""

from __future__ import annotations

import threading
from collections import Counter
from types import SimpleNamespace

import numpy as np

from sam3_tvm.runtime import ClickResult, EncodedImage, Result
from sam3_tvm.runtime.clicks.prompts import build_clicks
from sam3_tvm.runtime.concepts.prompts import build_prompts, check_boxes, check_threshold
from sam3_tvm.runtime.pictures.kept_picture import keep_picture
from sam3_tvm.runtime.pictures.masks import LazyMasks

SIDE = 8


class StandIn:
    """What ``create_app`` loads, in tests.

    Attributes:
        calls: how often each was called, in order of the calls.
        gate: calls wait for it; set at first.
        begun: released by each call as it begins.
        fail: raised by the next call.
    """

    def __init__(self) -> None:
        self.manifest = SimpleNamespace(
            sizes=SimpleNamespace(grid=SIDE // 4, tasks=["concepts", "clicks", "video"])
        )
        self.calls: list[str] = []
        self.gate = threading.Event()
        self.gate.set()
        self.begun = threading.Semaphore(0)
        self.fail: Exception | None = None
        self.sessions: list = []

    @property
    def counts(self) -> Counter:
        return Counter(self.calls)

    def _call(self, name: str) -> None:
        self.calls.append(name)
        self.begun.release()
        assert self.gate.wait(20), "the test never opened the gate"
        if self.fail is not None:
            fail, self.fail = self.fail, None
            raise fail

    def encode_image(self, picture) -> EncodedImage:
        rgb, kept = keep_picture(picture)
        self._call("encode")
        return EncodedImage({"mean": rgb.mean((0, 1))}, rgb.shape[:2], "stand-in", kept)

    def segment(
        self, image, text=None, boxes=None, box_labels=None, threshold=0.5, **others
    ) -> Result | list[Result]:
        check_threshold(threshold)
        phrases = text if isinstance(text, list) else [text]
        like = others.pop("like", None)
        if text is not None or not like:
            build_prompts(text, boxes, box_labels, image.size, visual_text="visual", max_boxes=16)
        self._call("segment")
        height, width = image.size
        results = []
        for number, phrase in enumerate(phrases, 1):
            masks = np.zeros((2, height, width), bool)
            masks[0, :number] = True
            masks[1, :, :number] = True
            boxes_ = np.array([[0, 0, width, number], [0, 0, number, height]], np.float32)
            scores = np.array([0.9, 0.6], np.float32)
            found = Result(
                phrase or "visual",
                boxes_,
                scores,
                np.arange(2),
                LazyMasks(image.size, None, made=masks),
                image.picture,
            )
            results.append(found[found.scores > threshold])
        return results if isinstance(text, list) else results[0]

    def exemplar(self, image, boxes, box_labels=None, *, name=None, views=True):
        check_boxes(boxes)
        assert not views, "a request encodes nothing"
        self._call("exemplar")
        return (boxes, box_labels, name)

    def click(self, image, points=None, point_labels=None, box=None, mask=None, multimask=True):
        (click,), _ = build_clicks(points, point_labels, box, mask, image.size, side=SIDE, most=16)
        self._call("click")
        count = 3 if multimask else 1
        height, width = image.size
        masks = np.zeros((count, height, width), bool)
        for number in range(count):
            masks[number, : number + 1] = True
        logits = np.arange(count * SIDE * SIDE, dtype=np.float32).reshape(count, SIDE, SIDE)
        if mask is not None:
            logits += mask
        found = LazyMasks(image.size, logits, made=masks)
        iou = np.linspace(0.5, 0.9, count, dtype=np.float32)
        return ClickResult(click, iou, 0.75, found, image.picture)

    def track(self, source, live=False):
        # Here, so that a process of its own finds this file without the others.
        from tests.cli.fake_tracker import FakeSession

        def watch(index: int) -> None:
            self._call(f"frame {index}")

        class Session(FakeSession):
            """Hears phrases, and finds nothing by them."""

            def add_text(self, phrase) -> None:
                build_prompts(phrase, None, None, (9, 9), visual_text="visual", max_boxes=16)

            def reserve(self, object_ids) -> None:
                return

        self.sessions.append(Session(source, watch))
        return self.sessions[-1]
