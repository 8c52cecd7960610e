"""Pictures over HTTP."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from sam3_tvm.runtime.pictures.image import read_picture
from sam3_tvm.serve import Limits, encodings
from tests.serve.conftest import Asked, pass_time, until
from tests.serve.stand_in import SIDE


def decoded(entry: dict) -> np.ndarray:
    return coco.decode(entry["segmentation"]).astype(bool)


def opened(answer) -> Image.Image:
    assert answer.headers["content-type"] == "image/png"
    return Image.open(io.BytesIO(answer.content))


def test_a_picture_is_taken_as_the_body_or_in_a_form_and_its_id_is_its_hash(client, file):
    data = file()
    answer = client.post("/v1/images", content=data)
    name = hashlib.sha256(data).hexdigest()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/v1/images/{name}"
    about = {"id": name, "width": 24, "height": 16, "bytes": 24 * 16 * 3 + 24}
    assert answer.json() == about
    again = client.post("/v1/images", files={"file": ("a.png", data)})
    assert (again.status_code, again.json()) == (200, about)
    assert client.get(f"/v1/images/{name}").json() == about


def test_the_same_picture_is_encoded_once(client, model, file):
    for _ in range(3):
        client.post("/v1/images", content=file())
    client.post("/v1/images", content=file(1))
    assert model.counts["encode"] == 2


def test_an_orientation_is_applied(client, file):
    exif = Image.Exif()
    exif[0x0112] = 6
    about = client.post("/v1/images", content=file(exif=exif)).json()
    assert (about["width"], about["height"]) == (16, 24)


def test_what_is_deleted_is_gone(client, picture):
    assert client.delete(picture).status_code == 204
    for answer in (client.get(picture), client.delete(picture)):
        assert answer.status_code == 404
    assert client.post(f"{picture}/click", json={"points": [[1, 1]]}).status_code == 404


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "nothing was sent"),
        (b"GIF89a", "the bytes: cannot be read"),
        (b"no picture", "of no format that is known"),
    ],
)
def test_what_is_no_picture_is_refused_in_the_librarys_words(client, model, content, said):
    answer = client.post("/v1/images", content=content)
    assert answer.status_code == 422
    assert said in answer.json()["detail"]
    assert not model.calls


def test_a_form_without_the_file_is_refused(client, file):
    answer = client.post("/v1/images", files={"image": ("a.png", file())})
    assert answer.status_code == 422
    assert "in its part named file" in answer.json()["detail"]


def test_too_many_pixels_are_refused_by_the_librarys_limit(client, file, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    answer = client.post("/v1/images", content=file())
    assert answer.status_code == 422
    assert "more than 200 pixels" in answer.json()["detail"]


def test_phrases_are_answered_as_run_lengths(client, picture):
    answer = client.post(f"{picture}/segment", json={"phrases": ["dog", "cat"]})
    assert answer.status_code == 200
    assert answer.headers["vary"] == "Accept"
    found = answer.json()
    assert (found["width"], found["height"]) == (24, 16)
    assert [one["text"] for one in found["results"]] == ["dog", "cat"]
    first = decoded(found["results"][1]["objects"][0])
    assert first[:2].all()
    assert not first[2:].any()


def test_the_threshold_and_examples_reach_the_model(client, picture):
    asked = {"boxes": [[1, 1, 5, 5]], "negative_boxes": [[8, 8, 9, 9]], "threshold": 0.8}
    (found,) = client.post(f"{picture}/segment", json=asked).json()["results"]
    assert found["text"] == "visual"
    assert len(found["objects"]) == 1


def test_outlines_are_geojson_in_pixels(client, picture):
    headers = {"Accept": "application/geo+json"}
    answer = client.post(f"{picture}/segment", json={"phrases": ["dog"]}, headers=headers)
    assert answer.headers["content-type"] == "application/geo+json"
    first = answer.json()["features"][0]
    assert first["geometry"] == {
        "type": "Polygon",
        "coordinates": [[[0, 0], [24, 0], [24, 1], [0, 1], [0, 0]]],
    }
    assert first["properties"] == {"text": "dog", "score": pytest.approx(0.9), "area": 24}


def test_accept_in_several_lines_is_one_list(client, picture):
    headers = [("Accept", "text/html"), ("Accept", "image/png")]
    for route, asked in ("segment", {"phrases": ["dog"]}), ("click", {"points": [[5, 5]]}):
        answer = client.post(f"{picture}/{route}", json=asked, headers=headers)
        assert answer.headers["content-type"] == "image/png"


def test_a_png_has_each_objects_number_in_its_pixels_the_best_on_top(client, picture):
    headers = {"Accept": "image/png"}
    asked = {"phrases": ["dog", "cat"]}
    image = opened(client.post(f"{picture}/segment", json=asked, headers=headers))
    assert image.mode == "P"
    numbers = np.asarray(image)
    assert numbers[0, 5] == numbers[0, 0] == 1
    assert (numbers[5, 0], numbers[1, 5], numbers[5, 1]) == (2, 3, 4)
    assert numbers[5, 5] == 0
    assert image.convert("RGB").getpixel((5, 5)) == (0, 0, 0)


def test_a_drawn_png_has_the_picture(client, picture, file):
    headers = {"Accept": "image/png"}
    for asked in ({"phrases": ["dog"]}, {"phrases": ["dog", "cat"]}):
        answer = client.post(f"{picture}/segment", json={**asked, "draw": True}, headers=headers)
        drawn = np.asarray(opened(answer).convert("RGB"))
        same = (drawn == np.asarray(Image.open(io.BytesIO(file())))).all(-1)
        assert 0 < same.sum() < same.size


def test_clicks_are_answered_and_refined_by_their_logits(client, picture):
    asked = {"points": [[5, 5]], "negative_points": [[9, 9]], "logits": True}
    found = client.post(f"{picture}/click", json=asked).json()
    assert found["best"] == 2
    assert found["object_score"] == 0.75
    assert [decoded(one).sum() for one in found["masks"]] == [24, 48, 72]
    logits = found["masks"][2]["logits"]
    again = client.post(f"{picture}/click", json={**asked, "mask": logits}).json()
    values = np.frombuffer(base64.b64decode(again["masks"][0]["logits"]), "<f4")
    expected = np.arange(SIDE * SIDE) * 2 + 2 * SIDE * SIDE
    assert np.array_equal(values, expected)
    single = client.post(f"{picture}/click", json={"box": [1, 1, 5, 5], "multimask": False})
    assert len(single.json()["masks"]) == 1
    assert "logits" not in single.json()["masks"][0]


def test_a_clicks_png_is_its_best_mask(client, picture):
    headers = {"Accept": "image/png"}
    image = opened(client.post(f"{picture}/click", json={"points": [[5, 5]]}, headers=headers))
    assert np.array_equal(np.asarray(image), np.repeat([1] * 3 + [0] * 13, 24).reshape(16, 24))


@pytest.mark.parametrize("mask", ["", "AAAA", "no base64!", "ä"])
def test_logits_that_are_none_are_refused(client, picture, mask):
    answer = client.post(f"{picture}/click", json={"points": [[1, 1]], "mask": mask})
    assert answer.status_code == 422
    assert "logits of an earlier answer" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("route", "asked", "said"),
    [
        ("segment", {}, "nothing to look for"),
        ("segment", {"phrases": [" "]}, "empty phrase"),
        ("segment", {"phrases": ["dog"], "threshold": 2}, "between 0 and 1"),
        ("segment", {"phrases": ["dog"], "threshold": "0.5"}, "threshold: Input should be a"),
        ("segment", {"phrases": ["dog"], "threshold": True}, "threshold: Input should be a"),
        ("segment", {"phrases": ["dog"], "draw": 1}, "draw: Input should be a valid boolean"),
        ("segment", {"phrases": ["dog"], "boxes": [[0, 0, 1]]}, "boxes.0: List should have"),
        (
            "segment",
            {"phrases": ["dog"], "colour": "red"},
            "'colour' is no name that is known here: phrases",
        ),
        ("segment", {"phrases": ["a"] * 65}, "65 prompts in one request: at most 64"),
        ("click", {}, "nothing was clicked"),
        ("click", {"points": [[99, 5]]}, "outside the picture"),
        ("click", {"points": [["a", 5]]}, "points.0.0: Input should be a valid number"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_one_line(client, picture, route, asked, said):
    answer = client.post(f"{picture}/{route}", json=asked)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert said in answer.json()["detail"]


def test_examples_on_other_pictures_go_by_their_ids(client, model, picture, file):
    other = client.post("/v1/images", content=file(1)).json()["id"]
    asked = {"like": [{"image": other, "boxes": [[1, 1, 5, 5]]}]}
    assert client.post(f"{picture}/segment", json=asked).status_code == 200
    assert model.counts["exemplar"] == 1
    answer = client.post(f"{picture}/segment", json={"like": [{"image": other}]})
    assert "an exemplar takes boxes" in answer.json()["detail"]
    asked["like"][0]["image"] = "0" * 64
    assert client.post(f"{picture}/segment", json=asked).status_code == 404


def test_a_picture_that_two_send_at_once_is_encoded_once_and_for_whoever_stays(
    on_loop, model, file
):
    async def check(app) -> None:
        model.gate.clear()
        leaves, stays = (Asked(app, "/v1/images", file()) for _ in range(2))
        underway = app.state.service.encodings._underway
        await until(lambda: [one.clients for one in underway.values()] == [2])
        await asyncio.to_thread(model.begun.acquire)
        leaves.left.set()
        await leaves.task
        model.gate.set()
        await stays.task
        assert stays.status == 201
        assert model.calls == ["encode"]

    on_loop(check)


def test_a_picture_whose_client_left_in_the_queue_is_never_encoded(on_loop, model, file):
    async def check(app) -> None:
        model.gate.clear()
        first = Asked(app, "/v1/images", file(0))
        await asyncio.to_thread(model.begun.acquire)
        second = Asked(app, "/v1/images", file(1))
        await until(lambda: app.state.service.turns._heap)
        second.left.set()
        await second.task
        model.gate.set()
        await first.task
        third = Asked(app, "/v1/images", file(2))
        await third.task
        assert (first.status, second.status, third.status) == (201, 499, 201)
        assert model.calls == ["encode"] * 2

    on_loop(check)


def test_pictures_that_wait_are_decoded_as_far_as_their_memory_goes(
    on_loop, model, file, monkeypatch
):
    decoded = 0

    def read(data):
        nonlocal decoded
        decoded += 1
        return read_picture(data)

    monkeypatch.setattr(encodings, "read_picture", read)

    async def check(app) -> None:
        model.gate.clear()
        asked = [Asked(app, "/v1/images", file(0))]
        await asyncio.to_thread(model.begun.acquire)
        asked += [Asked(app, "/v1/images", file(1))]
        await until(lambda: decoded == 2)
        asked += [Asked(app, "/v1/images", file(number)) for number in range(2, 6)]
        await asyncio.sleep(0.2)
        assert decoded == 2
        asked[1].left.set()  # which makes room
        await until(lambda: decoded == 3)
        model.gate.set()
        await asyncio.gather(*(one.task for one in asked))
        assert [one.status for one in asked] == [201, 499, *[201] * 4]
        assert decoded == 6

    on_loop(check, Limits(pixels=24 * 16 + 1))


def test_phrases_and_clicks_begin_while_a_picture_is_encoded_and_others_wait(on_loop, model, file):
    async def check(app) -> None:
        known = Asked(app, "/v1/images", file(0))
        await known.task
        path = known.headers[b"location"].decode()
        model.gate.clear()
        asked = [Asked(app, "/v1/images", file(n)) for n in (1, 2, 3)]
        await until(lambda: len(app.state.service.turns._heap) == 2)
        asked.append(Asked(app, f"{path}/segment", b'{"phrases": ["dog"]}'))
        await until(lambda: len(model.calls) == 3)
        asked.append(Asked(app, f"{path}/click", b'{"points": [[1, 1]]}'))
        await until(lambda: len(model.calls) == 4)
        assert model.calls == ["encode", "encode", "segment", "click"]
        assert len(app.state.service.turns._heap) == 2
        model.gate.set()
        await asyncio.gather(*(one.task for one in asked))
        assert {one.status for one in asked} == {200, 201}
        assert model.calls[4:] == ["encode", "encode"]

    on_loop(check)


def test_a_full_queue_is_429_and_what_takes_too_long_503(on_loop, model, file):
    async def check(app) -> None:
        model.gate.clear()
        slow = Asked(app, "/v1/images", file(0))
        await asyncio.to_thread(model.begun.acquire)
        more = Asked(app, "/v1/images", file(1))
        await more.task
        assert more.status == 429
        assert int(more.headers[b"retry-after"]) >= 1
        pass_time(19)
        await slow.task
        assert slow.status == 503
        assert b"longer than 19 s" in slow.body

    on_loop(check, Limits(waiting=1, seconds=19))
