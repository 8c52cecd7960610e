"""What the application says of itself."""

from __future__ import annotations

import base64
import io
import json

import numpy as np
import pytest

pytest.importorskip("fastapi")

from PIL import Image

from sam3_tvm.runtime.pictures.runs import are_runs
from sam3_tvm.serve.forms import answered, asked
from sam3_tvm.serve.forms.answered import EXAMPLE_LINE
from sam3_tvm.serve.forms.asked import TrackLine
from sam3_tvm.serve.forms.fields import EXAMPLE_PNG
from sam3_tvm.serve.label_studio import routes as label_studio
from sam3_tvm.serve.label_studio.sources import Sources
from sam3_tvm.serve.routes import cvat


def test_problems_are_described_as_what_they_are_sent_as(client):
    described = client.get("/openapi.json").json()
    assert "ProblemAnswer" in described["components"]["schemas"]
    problems = [
        told["content"]
        for path in described["paths"].values()
        for operation in path.values()
        for status, told in operation["responses"].items()
        if status >= "400"
    ]
    assert len(problems) > 30
    schema = {"$ref": "#/components/schemas/ProblemAnswer"}
    assert all(one == {"application/problem+json": {"schema": schema}} for one in problems)


def test_ids_are_called_so_in_paths_and_faults(client):
    assert "/v1/images/{id}/segment" in client.get("/openapi.json").json()["paths"]
    for path in ("/v1/images/x", "/v1/videos/x"):
        assert client.get(path).json()["detail"].startswith("id: ")


def test_every_question_and_answer_has_an_example_that_is_valid(serving):
    with serving(labels=Sources()) as client:
        described = client.get("/openapi.json").json()
    said = [
        content["schema"]["$ref"].rpartition("/")[2]
        for path in described["paths"].values()
        for operation in path.values()
        for one in [operation.get("requestBody", {}), *operation["responses"].values()]
        for content in one.get("content", {}).values()
        if "$ref" in content.get("schema", {})
    ]
    assert {"AskSegment", "AskPredict", "AskInteract", "ClickAnswer", "ProblemAnswer"} <= {*said}
    places = (asked, answered, cvat, label_studio)
    for name in {*said}:
        (form,) = (getattr(place, name) for place in places if hasattr(place, name))
        examples = described["components"]["schemas"][name]["examples"]
        assert examples
        for example in examples:
            form.model_validate_json(json.dumps(example))


def test_examples_are_what_they_are_said_to_be(client):
    line = TrackLine.model_validate_json(EXAMPLE_LINE)
    assert are_runs(line.objects[0].segmentation.counts, (8, 8))
    image = Image.open(io.BytesIO(base64.b64decode(EXAMPLE_PNG)))
    assert np.asarray(image).shape == (2, 2, 3)
    described = client.get("/openapi.json").json()["paths"]
    for path, lines in ("track", "responses"), ("draw", "requestBody"):
        said = described[f"/v1/videos/{{id}}/{path}"]["post"][lines]
        content = said["200"]["content"] if lines == "responses" else said["content"]
        assert content["application/x-ndjson"]["example"] == EXAMPLE_LINE
