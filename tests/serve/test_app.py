"""What the application says of itself."""

from __future__ import annotations

import pytest

from sam3_tvm.serve.forms import AskClick, AskSegment, AskTrack


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


@pytest.mark.parametrize("form", [AskClick, AskSegment, AskTrack])
def test_examples_are_valid(form):
    for example in form.model_config["json_schema_extra"]["examples"]:
        form.model_validate(example)
