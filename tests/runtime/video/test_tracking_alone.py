"""What is found of an object depends on its frames and prompts: on no other, on no file's form."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from PIL import Image
from track_harness import Studio, compare, moving_shapes, shape, show

from sam3_tvm.sources.base import ShowSpec

EARLY = ShowSpec(1, 0, points=((34.0, 65.0),), labels=(1,))
MIDDLE = ShowSpec(7, 4, box=(90.0, 36.0, 150.0, 94.0))
LATE = ShowSpec(4, 7, mask=shape(7, 1))


@pytest.fixture(scope="module")
def studio() -> Studio:
    return Studio("random:tiny:3")


@pytest.fixture(scope="module")
def frames():
    return moving_shapes(11)


def passes(session):
    """Objects, logits and scores of a session's default passes: forward, backward, forward."""
    return [
        (frame.index, name, frame.logits[row], frame.scores[row])
        for reverse in (False, True, False)
        for frame in session.propagate(reverse=reverse)
        for row, name in enumerate(frame.objects)
    ]


def assert_equal(found, wanted):
    assert [entry[:2] for entry in found] == [entry[:2] for entry in wanted]
    for (*_, logits, score), (*_, theirs, score_alone) in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(logits, theirs)
        assert score == score_alone


@pytest.mark.parametrize(
    "order", [(EARLY, MIDDLE, LATE), (LATE, MIDDLE, EARLY)], ids=["rising", "falling"]
)
def test_objects_of_one_session_are_found_as_each_alone_bit_for_bit(studio, frames, order):
    session = studio.model.track(frames)
    for prompt in order:
        show(session, prompt)
    found = passes(session)
    for prompt in order:
        alone = studio.model.track(frames)
        show(alone, prompt)
        wanted = passes(alone)
        assert wanted[0][0] == prompt.frame
        assert_equal([one for one in found if one[1] == prompt.object_id], wanted)


def test_a_start_that_is_given_is_for_objects_that_are_shown_later_too(studio, frames):
    alone, session = (studio.model.track(frames) for _ in range(2))
    show(alone, LATE)
    for prompt in (EARLY, LATE):
        show(session, prompt)
    found = [frame for frame in session.propagate(start=2)]
    assert [frame.objects for frame in found] == [[1, 4]] * 9
    for ours, wanted in zip(found, alone.propagate(start=2), strict=True):
        np.testing.assert_array_equal(ours.logits[1], wanted.logits[0])
    # One that is added on a frame ahead wasn't there to be asked for.
    running = session.propagate(start=2)
    next(running)
    show(session, ShowSpec(9, 6, box=(90.0, 36.0, 150.0, 94.0)))
    assert [9 in frame.objects for frame in running] == [index >= 6 for index in range(3, 11)]


def test_the_same_frames_give_the_same_masks_whichever_way_they_come(studio, frames, tmp_path):
    """Also where a film is shorter than the frames that are looked back on: nobody knows of all."""
    short = frames[:10]
    (tmp_path / "film").mkdir()
    for index, rgb in enumerate(short):
        Image.fromarray(rgb).save(tmp_path / "film" / f"{index}.png")
    sources = [short, np.stack(short), iter(short), tmp_path / "film"]
    try:
        import av
    except ModuleNotFoundError:
        pass
    else:
        path = tmp_path / "film.mkv"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("ffv1", rate=25, width=240, height=180)
            stream.pix_fmt = "bgr0"
            for rgb in short:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
            container.mux(stream.encode(None))
        sources.append(path)
    live = studio.model.track()
    live.step(short[0])
    show(live, EARLY)
    wanted = [live.step(rgb) for rgb in short[1:]]
    for source in sources:
        with studio.model.track(source) as session:
            show(session, EARLY)
            _, *found = session.propagate()
        for ours, theirs in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(ours.logits, theirs.logits)


def test_a_short_film_is_followed_as_by_the_reference_frame_by_frame(studio, frames):
    """Where transformers has all frames of a short film, it measures ages by their number."""
    session, live = studio.model.track(frames), studio.film(None)
    show(session, EARLY)
    live.size = frames[0].shape[:2]
    live.show(EARLY)
    wanted = [live.step(rgb) for rgb in frames]
    compare(session.propagate(), wanted)
