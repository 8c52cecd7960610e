"""How a video that has ended is told from one that is cut off."""

from __future__ import annotations

import pytest

from sam3_tvm.runtime.video.frames import FramesError
from sam3_tvm.runtime.video.open import open_frames
from tests import video_scenes


def read_all(frames) -> int:
    """How many frames there are."""
    count = 0
    try:
        while True:
            frames.read(count)
            count += 1
    except IndexError:
        return count


def test_a_slow_flv_with_b_frames_ends_where_it_says(tmp_path):
    av = pytest.importorskip("av")
    if "libx264" not in av.codecs_available:
        pytest.skip("FLV takes no other codec with B-frames")
    path = video_scenes.write_video(
        tmp_path / "slow.flv", 12, codec="libx264", rate=1, options={"bf": "2", "g": "4"}
    )
    with av.open(str(path)) as container:
        places = [packet.pos for packet in container.demux(video=0)]
        assert container.start_time >= av.time_base  # what the first frame waits for
    with open_frames(path) as frames:
        assert read_all(frames) == frames.count == 12
    path.write_bytes(path.read_bytes()[: places[8]])
    with open_frames(path) as frames, pytest.raises(FramesError, match="is cut off: it ends after"):
        read_all(frames)
