"""A film's frames, the film with masks on it, and how long things take."""

from __future__ import annotations

import asyncio
import io
import json
import threading

import av
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from sam3_tvm.runtime.video.open import open_frames
from sam3_tvm.serve import Limits
from sam3_tvm.serve.problems import ClientLeft
from tests.serve.conftest import Asked, until


@pytest.fixture
def film(client, film_file) -> str:
    return client.post("/v1/videos", content=film_file).headers["location"]


def test_a_frame_is_that_of_the_film(client, film, film_file, tmp_path):
    (tmp_path / "film.mp4").write_bytes(film_file)
    answer = client.get(f"{film}/frames/7")
    assert answer.headers["content-type"] == "image/jpeg"
    shown = np.asarray(Image.open(io.BytesIO(answer.content)), np.int16)
    with open_frames(tmp_path / "film.mp4") as frames:
        there = frames.read(7).astype(np.int16)
        other = frames.read(0).astype(np.int16)
    assert np.abs(shown - there).mean() < 3 < np.abs(shown - other).mean()


def test_a_frame_that_is_not_there_is_named(client, film):
    answer = client.get(f"{film}/frames/12")
    assert answer.status_code == 404
    assert answer.json()["detail"] == ("frame 12 is not in the film, which has 12, numbered from 0")


def test_lines_are_drawn_on_their_frames(client, film):
    asked = {"objects": [{"id": 1, "box": [4, 4, 30, 30]}]}
    lines = client.post(f"{film}/track", json=asked).content
    chosen = b"".join(line + b"\n" for line in lines.splitlines()[2:9])
    answer = client.post(f"{film}/draw", content=chosen)
    assert answer.headers["content-type"] == "video/mp4"
    with av.open(io.BytesIO(answer.content)) as made:
        assert sum(1 for _ in made.decode(video=0)) == 7


LINE = {"frame": 0, "objects": []}

# A mask of all pixels of the film's frames, and one whose size is no pair of numbers.
WHOLE = coco.frPyObjects({"size": [96, 128], "counts": [0, 96 * 128]}, 96, 128)
WHOLE["counts"] = WHOLE["counts"].decode()
TEXTS = {**WHOLE, "size": ["96", "128"]}


@pytest.mark.parametrize(
    "lines",
    [
        [{"frame": -1, "objects": []}],
        [LINE, LINE],
        [{"frame": 1, "objects": []}, LINE],
        [
            {
                "frame": 0,
                "objects": [{"id": 1, "score": 1, "segmentation": {"size": [1, 1], "counts": "1"}}],
            }
        ],
        ["no line"],
        [{"frame": "0", "objects": []}],
        [{"frame": True, "objects": []}],
        [{"frame": 0, "objects": [{"id": "1", "score": 1, "segmentation": WHOLE}]}],
        [{"frame": 0, "objects": [{"id": 1, "score": 1, "segmentation": TEXTS}]}],
    ],
)
def test_lines_of_something_else_are_refused(client, film, lines):
    content = "".join(f"{json.dumps(line)}\n" for line in lines)
    answer = client.post(f"{film}/draw", content=content)
    assert answer.status_code == 422
    assert f"line {len(lines)}: is none that following this film gave" in answer.json()["detail"]


def test_no_lines_and_a_frame_behind_the_end_are_refused(client, film):
    assert client.post(f"{film}/draw", content=b"\n").status_code == 422
    answer = client.post(f"{film}/draw", content=json.dumps({"frame": 99, "objects": []}))
    assert answer.status_code == 422
    assert "frame 99" in answer.json()["detail"]


def test_how_long_a_picture_takes_is_told(client, file):
    before = client.get("/v1").json()
    assert before["kinds"]["encode"] == {"seconds": None, "under_way": 0}
    assert before["tasks"] == ["concepts", "clicks", "video"]
    assert before["limits"]["prompts"] == 64
    client.post("/v1/images", content=file())
    assert client.get("/v1").json()["kinds"]["encode"]["seconds"] > 0


def test_frames_whose_clients_left_are_not_read_and_let_pictures_come(
    on_loop, monkeypatch, film_file, file
):
    begun, over = threading.Semaphore(0), threading.Event()
    reads: list[int] = []

    def slow(film, index):
        reads.append(index)
        begun.release()
        over.wait(20)
        return b""

    monkeypatch.setattr("sam3_tvm.serve.service.frame_jpeg", slow)

    async def check(app) -> None:
        film = Asked(app, "/v1/videos", film_file)
        await film.task
        path = film.headers[b"location"].decode()
        try:
            asked = [Asked(app, f"{path}/frames/{n}", b"", "GET") for n in range(31)]
            await asyncio.to_thread(begun.acquire)
            await asyncio.to_thread(begun.acquire)
            picture = Asked(app, "/v1/images", file())
            await asyncio.wait_for(picture.task, 10)
            assert picture.status == 201
            more = Asked(app, f"{path}/frames/0", b"", "GET")
            await more.task
            assert more.status == 429
            assert int(more.headers[b"retry-after"]) >= 1
            for one in asked:
                one.left.set()
            await asyncio.gather(*(one.task for one in asked))
        finally:
            over.set()

    on_loop(check, Limits(waiting=31))
    assert len(reads) == 2


def test_films_that_are_drawn_let_pictures_come_and_end_with_the_server(
    on_loop, monkeypatch, film_file, file
):
    begun, over, at_end = threading.Semaphore(0), threading.Event(), []

    def slow(film, lines, films, stopped):
        begun.release()
        over.wait(20)
        at_end.append((stopped(), film.path.parent.exists()))
        raise ClientLeft

    monkeypatch.setattr("sam3_tvm.serve.service.drawn_film", slow)

    async def check(app) -> None:
        film = Asked(app, "/v1/videos", film_file)
        await film.task
        draw = f"{film.headers[b'location'].decode()}/draw"
        drawn = [Asked(app, draw, b"") for _ in range(40)]
        await until(lambda: sum(one.status == 429 for one in drawn) == 32)
        try:
            await asyncio.to_thread(begun.acquire)
            picture = Asked(app, "/v1/images", file())
            await asyncio.wait_for(picture.task, 10)
            assert picture.status == 201
            for one in drawn:
                one.left.set()
            await asyncio.gather(*(one.task for one in drawn))
            assert not at_end
        finally:
            threading.Timer(0.2, over.set).start()

    on_loop(check)
    assert set(at_end) == {(True, True)}
