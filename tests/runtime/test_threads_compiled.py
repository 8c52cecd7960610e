"""Many threads with one compiled model: each gets what it would get alone."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

import sam3_tvm
from tests import video_scenes

THREADS = 16


def test_threads_that_segment_click_and_track_get_what_each_gets_alone(tiny_artifact):
    model = sam3_tvm.load(tiny_artifact)
    frames = [made.rgb for made in video_scenes.frames(3)]
    noise = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    encoded = model.encode_image(frames[0])

    def segment(seed: int) -> list[np.ndarray]:
        phrase = ("hexagon", "red star")[seed // 2 % 2]
        found = model.segment((encoded, noise)[seed % 2], text=phrase, threshold=0.0)
        return [found.scores, found.boxes, found.masks]

    def click(seed: int) -> list[np.ndarray]:
        clicked = model.click((encoded, noise)[seed % 2], points=[[20 + seed, 30]])
        return [clicked.masks, clicked.iou, clicked.logits]

    def track(seed: int) -> list[np.ndarray]:
        with model.track(frames) as session:
            session.add(1, 0, points=[[18, 34 + seed]])
            return [a for f in session.propagate() for a in (f.scores, f.masks, f.logits)]

    kinds = (segment, click, track)
    work = [partial(kinds[number % 3], number // 3) for number in range(THREADS)]
    alone = [task() for task in work]
    start = threading.Barrier(THREADS)

    def at_once(task: partial[list[np.ndarray]]) -> list[np.ndarray]:
        start.wait()
        return task()

    with ThreadPoolExecutor(THREADS) as threads:
        together = list(threads.map(at_once, work))
    for task, one, other in zip(work, alone, together, strict=True):
        for expected, found in zip(one, other, strict=True):
            np.testing.assert_array_equal(found, expected, f"{task}", strict=True)
    assert any(found[0].size for found in alone[::3]), "something was found"


def test_threads_that_pass_one_session_take_turns(tiny_artifact):
    model = sam3_tvm.load(tiny_artifact)
    frames = [made.rgb for made in video_scenes.frames(3)]
    start = threading.Barrier(THREADS)
    with model.track(frames) as alone, model.track(frames) as shared:
        for session in (alone, shared):
            session.add(1, 0, points=[[18, 34]])
        expected = [frame.logits for frame in alone.propagate()]

        def follow(_: int) -> list[np.ndarray]:
            start.wait()
            return [frame.logits for frame in shared.propagate()]

        with ThreadPoolExecutor(THREADS) as threads:
            for found in threads.map(follow, range(THREADS)):
                np.testing.assert_array_equal(found, expected)
