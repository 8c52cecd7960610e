"""Results in formats of datasets are what the library's own writers make."""

from __future__ import annotations

import io
import json
import threading
import zipfile

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from sam3_tvm.annotate import FORMATS, AnnotatedObject, AnnotatedPicture, Contents, Listed
from sam3_tvm.serve import Limits
from sam3_tvm.serve.exports import ExportFormat, exported
from sam3_tvm.serve.forms.asked import AskExport
from sam3_tvm.serve.problems import ClientLeft
from tests.serve.conftest import Asked, pass_time, until

HEIGHT, WIDTH = 12, 20


def ring(top: int, left: int) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8, order="F")
    mask[top : top + 6, left : left + 7] = 1
    mask[top + 2, left + 2 : left + 4] = 0
    return mask


def entry(mask: np.ndarray, **others) -> dict:
    runs = coco.encode(np.asfortranarray(mask))
    segmentation = {"size": [HEIGHT, WIDTH], "counts": runs["counts"].decode()}
    return {"category": "nut", "score": 0.75, "segmentation": segmentation, **others}


def asked(*objects: dict) -> dict:
    return {"width": WIDTH, "height": HEIGHT, "file_name": "nuts.jpg", "objects": [*objects]}


TWO = asked(entry(ring(1, 2)), entry(ring(5, 12), category="bolt", bbox=[11.5, 5, 7, 6]))


@pytest.mark.parametrize(
    ("form", "name", "file"),
    [
        ("coco", "coco", "annotations.json"),
        ("yolo", "yolo-segment", "labels/nuts.txt"),
        ("geojson", "geojson", "nuts.geojson"),
    ],
)
def test_a_format_is_that_of_a_dataset(client, tmp_path, form, name, file):
    def read():
        objects = tuple(
            AnnotatedObject(
                one["category"],
                one["category"],
                one["score"],
                box,
                int(coco.decode(one["segmentation"]).sum()),
                one["segmentation"]["counts"],
            )
            for one, box in zip(
                TWO["objects"], [(2.0, 1.0, 9.0, 7.0), (11.5, 5.0, 18.5, 11.0)], strict=True
            )
        )
        picture = AnnotatedPicture("nuts.jpg", "nuts.jpg", (HEIGHT, WIDTH), 0, 0, "", objects)
        yield Listed(tmp_path / "nuts.jpg", "nuts.jpg"), picture

    about = {"description": "Made by sam3-tvm"}
    FORMATS[name].write(tmp_path, Contents(tmp_path, ("nut", "bolt"), read, about))
    answer = client.post(f"/v1/export/{form}", json=TWO)
    assert answer.status_code == 200
    assert answer.content == (tmp_path / file).read_bytes()


def test_a_zip_of_yolo_has_the_names_of_its_classes(client):
    answer = client.post("/v1/export/yolo.zip", json=TWO)
    assert answer.headers["content-type"] == "application/zip"
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    assert sorted(archive.namelist()) == ["data.yaml", "labels/nuts.txt"]
    assert '1: "bolt"' in archive.read("data.yaml").decode()
    lines = client.post("/v1/export/yolo", json=TWO).content
    assert archive.read("labels/nuts.txt") == lines


def test_a_png_has_each_objects_number(client):
    answer = client.post("/v1/export/png", json=TWO)
    numbers = np.asarray(Image.open(io.BytesIO(answer.content)))
    expected = np.where(ring(1, 2), 1, np.where(ring(5, 12), 2, 0))
    np.testing.assert_array_equal(numbers, expected)


@pytest.mark.parametrize("counts", ["", "x", "P", "ooooooooooooo0", "0", "Z7", "\x00", "é", "`8"])
def test_runs_that_are_no_mask_of_the_picture_are_refused(client, counts):
    wrong = entry(ring(1, 2))
    wrong["segmentation"]["counts"] = counts
    answer = client.post("/v1/export/coco", json=asked(entry(ring(1, 2)), wrong))
    assert answer.status_code == 422
    assert "objects, number 2: segmentation" in answer.json()["detail"]


def test_a_mask_of_another_size_is_refused(client):
    answer = client.post("/v1/export/coco", json={**TWO, "width": WIDTH + 1})
    assert answer.status_code == 422


def test_a_picture_of_more_pixels_than_are_taken_is_refused(serving):
    with serving(Limits(pixels=100)) as client:
        assert client.post("/v1/export/png", json=TWO).status_code == 413


def test_a_path_is_no_part_of_a_files_name(client):
    answer = client.post("/v1/export/coco", json={**TWO, "file_name": "../../etc/nuts.jpg"})
    assert json.loads(answer.content)["images"][0]["file_name"] == "nuts.jpg"


@pytest.mark.parametrize("name", [".", "..", "a/", "\0", "\n", " ", "é" * 200, "😀" * 196 + ".png"])
@pytest.mark.parametrize("form", ["coco", "yolo", "yolo.zip", "geojson", "png"])
def test_whatever_a_file_is_called_it_is_written(client, form, name):
    assert client.post(f"/v1/export/{form}", json={**TWO, "file_name": name}).status_code == 200


@pytest.mark.parametrize("wide", [12, 1e6, 1e308])
def test_boxes_are_cut_at_the_edges_of_the_picture(client, wide):
    one = entry(ring(1, 2), bbox=[-1, 2, wide + 1, wide * 1.5])
    found = client.post("/v1/export/coco", json=asked(one)).json()["annotations"][0]
    assert found["bbox"] == [0, 2, min(wide, WIDTH), HEIGHT - 2]


@pytest.mark.parametrize("form", ExportFormat)
@pytest.mark.parametrize("after", [1, 3])
def test_an_export_that_nobody_waits_for_ends_between_two_objects(form, after):
    left = iter([False] * after)

    def stopped() -> bool:
        return next(left, True)

    with pytest.raises(ClientLeft):
        exported(AskExport.model_validate(TWO), form, 1000, stopped)


def test_an_export_is_given_up_when_its_client_goes_or_takes_too_long(on_loop, monkeypatch):
    ended: list[bool] = []
    over = threading.Event()

    def slow(asked, form, most, stopped):
        over.wait(20)
        ended.append(stopped())
        return b""

    monkeypatch.setattr("sam3_tvm.serve.service.exported", slow)
    body = json.dumps(TWO).encode()

    async def check(app) -> None:
        try:
            leaves, stays = (Asked(app, "/v1/export/coco", body) for _ in range(2))
            await until(lambda: app.state.service.exporting._places == 2)
            more = Asked(app, "/v1/export/coco", body)
            await more.task
            leaves.left.set()
            await leaves.task
            pass_time(19)
            await stays.task
        finally:
            over.set()
        assert (leaves.status, stays.status, more.status) == (499, 503, 429)

    on_loop(check, Limits(waiting=2, seconds=19))
    assert ended == [True, True]


def test_another_format_is_none(client):
    assert client.post("/v1/export/docx", json=TWO).status_code == 422
