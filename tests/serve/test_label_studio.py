"""The server as Label Studio's ML backend, asked as Label Studio asks."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace

import numpy as np
import pytest

from sam3_tvm.errors import UsageError
from sam3_tvm.serve import Access, Limits
from sam3_tvm.serve.label_studio import sources
from sam3_tvm.serve.label_studio.sources import Sources, check_url
from sam3_tvm.serve.problems import Problem

pytest.importorskip("fastapi")

LABELS = '<Label value="Star"/><Label value="Disk" predicted_values="red disk, blue disk"/>'


def config(*tags: str) -> str:
    inner = "".join(f'<{t} name="{t}" toName="image">{LABELS}</{t}>' for t in tags)
    return f'<View><Image name="image" value="$photo"/>{inner}</View>'


def data_url(file: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(file).decode()


@pytest.fixture
def backend(serving, model) -> Iterator:
    model.manifest.source = SimpleNamespace(checkpoint="somewhere/stand-in")
    with serving(labels=Sources()) as client:
        yield client


def asking(photos, xml=None, context=None) -> dict:
    """As Label Studio 1.2x sends it, fields that aren't used here included."""
    return {
        "tasks": [
            {"id": n, "data": {"photo": p}, "project": 1, "meta": {}}
            for n, p in enumerate(photos, 1)
        ],
        "model_version": "x",
        "project": "1.1764371951",
        "label_config": xml or config("BrushLabels"),
        "params": {"login": None, "password": None, "context": context},
    }


def predict(client, *args, **kwargs):
    return client.post("/label-studio/predict", json=asking(*args, **kwargs))


def keypoint(x, y, positive=True, label="Disk") -> dict:
    value = {"x": x, "y": y, "width": 0.3, "keypointlabels": [label]}
    return {
        "id": "a",
        "from_name": "point",
        "to_name": "image",
        "type": "keypointlabels",
        "original_width": 24,
        "original_height": 16,
        "image_rotation": 0,
        "is_positive": positive,
        "value": value,
    }


def test_it_tells_that_it_is_up_and_which_model_it_has(backend):
    assert backend.get("/label-studio/health").json()["status"] == "UP"
    said = {
        "project": "1.2",
        "schema": config("BrushLabels"),
        "hostname": "http://elsewhere.invalid",
        "access_token": "x",
        "extra_params": None,
    }
    answer = backend.post("/label-studio/setup", json=said)
    assert answer.json()["model_version"].startswith("stand-in by sam3-tvm ")
    assert backend.post("/label-studio/webhook", json={"action": "PROJECT_UPDATED"}).is_success


def test_without_the_option_there_is_no_backend(client):
    assert client.get("/label-studio/health").status_code == 404


def test_every_label_is_looked_for_by_its_phrases(backend, file):
    (prediction,) = predict(backend, [data_url(file())]).json()["results"]
    labels = [one["value"]["brushlabels"] for one in prediction["result"]]
    assert labels == [["Star"]] * 2 + [["Disk"]] * 4  # the model finds two of each phrase
    assert prediction["score"] == pytest.approx(0.75)
    first = prediction["result"][0]
    assert first["score"] == pytest.approx(0.9)
    about = ("from_name", "to_name", "type", "original_width", "original_height")
    assert [first[name] for name in about] == ["BrushLabels", "image", "brushlabels", 24, 16]


def test_brushed_masks_are_the_models_to_the_pixel(backend, file):
    theirs = pytest.importorskip("label_studio_converter.brush")
    (prediction,) = predict(backend, [data_url(file())]).json()["results"]
    for number, region in enumerate(prediction["result"]):
        row = number % 2 == 0
        expected = np.zeros((16, 24), bool)
        expected[: number // 2 + 1 if row else 16, : 24 if row else number // 2 + 1] = True
        mask = theirs.decode_rle(region["value"]["rle"]).reshape(16, 24, 4)[..., 3] > 0
        assert np.array_equal(mask, expected), number


def test_polygons_and_rectangles_are_in_percent(backend, file):
    (drawn,) = predict(backend, [data_url(file())], config("PolygonLabels")).json()["results"]
    value = drawn["result"][0]["value"]
    assert sorted(value["points"]) == [[0, 0], [0, 6.25], [100, 0], [100, 6.25]]
    assert (value["closed"], value["polygonlabels"]) == (True, ["Star"])
    (boxed,) = predict(backend, [data_url(file())], config("RectangleLabels")).json()["results"]
    value = boxed["result"][0]["value"]
    assert value == {
        "x": 0,
        "y": 0,
        "width": 100,
        "height": 6.25,
        "rotation": 0,
        "rectanglelabels": ["Star"],
    }


def test_clicks_are_answered_with_the_best_mask_under_the_chosen_label(backend, model, file):
    seen = []
    click = model.click
    model.click = lambda image, *args: seen.append(args) or click(image, *args)
    context = {"result": [keypoint(50, 50), keypoint(25, 75, False, "Star")]}
    (prediction,) = predict(backend, [data_url(file())], context=context).json()["results"]
    (region,) = prediction["result"]
    assert region["value"]["brushlabels"] == ["Star"]  # the latest
    assert region["score"] == pytest.approx(0.9)
    assert seen == [([[12, 8], [6, 12]], [1, 0], None)]


def test_a_picture_is_encoded_once_for_all_clicks_on_it(backend, model, file):
    for x in (10, 20, 30):
        assert predict(backend, [data_url(file())], context={"result": [keypoint(x, 50)]}).json()
    assert (model.counts["encode"], model.counts["click"]) == (1, 3)


def test_a_rectangle_is_clicked_and_a_text_is_looked_for(backend, model, file):
    box = {"type": "rectangle", "value": {"x": 0, "y": 0, "width": 50, "height": 50}}
    assert predict(backend, [data_url(file())], context={"result": [box]}).is_success
    text = {"type": "textarea", "value": {"text": ["Red disk"]}}
    (found,) = predict(backend, [data_url(file())], context={"result": [text]}).json()["results"]
    assert model.calls == ["encode", "click", "segment"]
    assert {one["value"]["brushlabels"][0] for one in found["result"]} == {"Disk"}


def test_what_was_drawn_and_taken_away_again_is_answered_with_nothing(backend, model, file):
    (answer,) = predict(backend, [data_url(file())], context={"result": []}).json()["results"]
    assert answer["result"] == []
    assert not model.calls


def test_a_task_that_fails_is_named_on_the_terminal_too(backend, caplog):
    answer = predict(backend, ["data:image/png;base64,AAAA"])
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("task 1: ")
    assert answer.json()["detail"] in caplog.text
    assert "no picture" in predict(backend, [None]).json()["detail"]


def test_of_several_tasks_one_that_fails_has_no_prediction(backend, file, caplog):
    # Label Studio takes a list of predictions for a task: none, if it is empty.
    results = predict(backend, [data_url(file()), "s3://a/b", data_url(file(1))]).json()["results"]
    assert [type(one) for one in results] == [dict, list, dict]
    assert results[1] == []
    assert "task 2: s3://a/b" in caplog.text


def test_more_labels_than_prompts_are_taken_are_refused(serving, model, file):
    with serving(Limits(prompts=2), labels=Sources()) as client:
        answer = predict(client, [data_url(file())])
        assert answer.status_code == 422
        assert "labels are 3 phrases" in answer.json()["detail"]


@pytest.mark.parametrize(
    "name",
    [
        "http://169.254.169.254/latest/meta-data",
        "https://example.invalid/a.png",
        "file:///etc/passwd",
        "//example.invalid/a.png",
        "s3://bucket/a.png",
        "photo.png",
        "/data/upload/1/a.png",
    ],
)
def test_other_names_lead_nowhere(backend, name):
    answer = predict(backend, [name])
    assert answer.status_code == 422, answer.text


def test_a_label_studio_is_told_its_token_by_basic_authentication(serving, model):
    model.manifest.source = SimpleNamespace(checkpoint="stand-in")
    with serving(access=Access("secret", True), labels=Sources()) as client:
        assert client.get("/label-studio/health").status_code == 401
        assert client.get("/label-studio/health", auth=("any", "wrong")).status_code == 401
        assert client.get("/label-studio/health", auth=("any", "secret")).status_code == 200
        bad = {"Authorization": "Basic !"}
        assert client.get("/label-studio/health", headers=bad).status_code == 401


def test_a_whole_picture_fits_into_a_task(serving, model, file):
    model.manifest.source = SimpleNamespace(checkpoint="stand-in")
    large = file(size=(400, 300))
    limits = Limits(picture_bytes=len(large), json_bytes=4096)
    with serving(limits, labels=Sources()) as client:
        assert predict(client, [data_url(large)]).is_success
        assert predict(client, [data_url(large + b"x")]).status_code == 413


class TestLocalFiles:
    @pytest.fixture
    def folder(self, tmp_path, file):
        (tmp_path / "files" / "in").mkdir(parents=True)
        (tmp_path / "files" / "in" / "a.png").write_bytes(file())
        (tmp_path / "secret.png").write_bytes(file(1))
        (tmp_path / "files" / "link.png").symlink_to(tmp_path / "secret.png")
        return tmp_path / "files"

    def test_they_are_read_from_the_folder(self, folder, file):
        read = Sources(files=folder).read
        assert read("/data/local-files/?d=in/a.png", 1 << 20) == file()
        assert read("/data/local-files/?d=in%2Fa.png", 1 << 20) == file()

    @pytest.mark.parametrize(
        "name", ["../secret.png", "/etc/passwd", "link.png", "in", "none.png", "", "a\0b"]
    )
    def test_and_from_nowhere_else(self, folder, name):
        with pytest.raises(Problem) as raised:
            Sources(files=folder).read(f"/data/local-files/?d={name}", 1 << 20)
        assert raised.value.status_code == 404

    def test_and_no_more_than_is_taken(self, folder):
        with pytest.raises(Problem, match="10 bytes"):
            Sources(files=folder).read("/data/local-files/?d=in/a.png", 10)


@pytest.fixture
def label_studio() -> Iterator[SimpleNamespace]:
    """A web server with one picture, that keeps what it was asked."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, self.headers.get("Authorization")))
            status = {"/data/upload/1/a.png": 200, "/away": 302, "/no": 401}.get(self.path, 404)
            self.send_response(status)
            if status == 302:
                self.send_header("Location", "/data/upload/1/a.png")
            self.end_headers()
            self.wfile.write(b"picture" if status == 200 else b"")

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append((self.path, body))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"access": "short"}')

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield SimpleNamespace(url=f"http://127.0.0.1:{server.server_port}", asked=asked)
    server.shutdown()
    thread.join()
    server.server_close()


class TestUploads:
    def test_they_are_read_from_the_label_studio_with_its_token(self, label_studio):
        read = Sources(label_studio.url, "key").read
        assert read("/data/upload/1/a.png", 100) == b"picture"
        assert read(f"{label_studio.url}/data/upload/1/a.png", 100) == b"picture"
        assert label_studio.asked == [("/data/upload/1/a.png", "Token key")] * 2

    def test_spaces_and_letters_of_a_name_are_sent_as_addresses_have_them(self, label_studio):
        with pytest.raises(Problem, match="no such thing"):
            Sources(label_studio.url).read("/data/upload/1/a b é%20.png?d=1 2", 100)
        assert label_studio.asked == [("/data/upload/1/a%20b%20%C3%A9%20.png?d=1%202", None)]

    def test_a_personal_token_is_exchanged_once(self, label_studio, monkeypatch):
        monkeypatch.setattr(sources, "_tokens", sources._Tokens())
        read = Sources(label_studio.url, "a.b.c").read
        for _ in range(2):
            read("/data/upload/1/a.png", 100)
        assert label_studio.asked == [
            ("/api/token/refresh", {"refresh": "a.b.c"}),
            *[("/data/upload/1/a.png", "Bearer short")] * 2,
        ]

    @pytest.mark.parametrize(
        ("path", "said"),
        [("/away", "leads elsewhere"), ("/no", "access token"), ("/none", "no such thing")],
    )
    def test_what_it_does_not_give_is_named(self, label_studio, path, said):
        with pytest.raises(Problem, match=said) as raised:
            Sources(label_studio.url, "key").read(path, 100)
        assert raised.value.status_code == 502
        assert len(label_studio.asked) == 1  # and no redirection is followed

    @pytest.mark.parametrize("name", ["http://[", "http://[x]/a.png", "http://a\u2100/x"])
    def test_an_address_that_is_none_leads_nowhere(self, label_studio, name):
        with pytest.raises(Problem, match="nowhere else") as raised:
            Sources(label_studio.url, "key").read(name, 9)
        assert raised.value.status_code == 422

    def test_the_token_is_not_shown(self, label_studio):
        assert "secret" not in repr(Sources(label_studio.url, "secret"))

    def test_no_other_port_is_asked(self, label_studio):
        with pytest.raises(Problem, match="nowhere else"):
            Sources("http://127.0.0.1:1", "key").read(f"{label_studio.url}/data/upload/1/a.png", 9)
        assert not label_studio.asked

    def test_one_that_is_not_there_is_named(self):
        with pytest.raises(Problem, match="cannot be reached"):
            Sources("http://127.0.0.1:1").read("/data/upload/1/a.png", 9)


@pytest.mark.parametrize(
    "url", ["localhost:8080", "ftp://a", "http://", "http://u:p@a", "http://["]
)
def test_an_address_that_is_none_is_named(url):
    with pytest.raises(UsageError, match="--label-studio"):
        check_url(url)
