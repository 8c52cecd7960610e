"""The JSON of CVAT's interactors."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from sam3_tvm.serve import Limits

PATH = "/v1/cvat/interact"


def sent(file: bytes, **asked) -> dict:
    return {"image": base64.b64encode(file).decode(), **asked}


def clicked(client, file, **asked):
    # As CVAT's server sends it to a Nuclio function.
    whole = {"pos_points": [[3, 2]], "neg_points": [[20, 15]], "obj_bbox": [], **asked}
    return client.post(PATH, json=sent(file, **whole))


def test_a_click_is_answered_for_new_and_old_versions(client, file):
    answer = clicked(client, file()).json()
    mask = np.array(answer["mask"], bool)
    assert mask.shape == (16, 24)
    assert mask[:3].all()
    assert not mask[3:].any()
    assert answer["shapes"] == [
        {
            "type": "mask",
            "points": [0, 72, 0, 0, 23, 2],
            "attributes": [{"spec_id": 0, "value": "0.9000"}],
        }
    ]


def test_its_run_lengths_are_the_sdks(client, file):
    masks = pytest.importorskip("cvat_sdk.masks")
    answer = clicked(client, file()).json()
    points = answer["shapes"][0]["points"]
    assert np.array_equal(
        masks.decode_mask(points, image_width=24, image_height=16), np.array(answer["mask"], bool)
    )


def test_a_frame_that_comes_again_is_not_encoded_again(client, model, file):
    clicked(client, file())
    clicked(client, file(), pos_points=[], obj_bbox=[[1, 1], [9, 9]])
    assert model.calls == ["encode", "click", "click"]


def test_no_box_is_said_in_two_ways_and_fields_of_other_versions_are_left_alone(client, file):
    for more in ({"obj_bbox": None}, {"threshold": 0.5}, {"neg_points": None}):
        assert clicked(client, file(), **more).status_code == 200


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"image": "é"}, "base64"),
        ({"image": "AAAA"}, "picture"),
        ({"pos_points": [], "neg_points": []}, "point"),
        ({"obj_bbox": [[1, 1]]}, "two corners"),
        ({"pos_points": [[99, 1]]}, "99"),
    ],
)
def test_what_cannot_be_used_is_named(client, file, more, said):
    answer = clicked(client, file(), **more)
    assert answer.status_code == 422
    assert said in answer.json()["detail"]


def test_as_large_a_picture_as_elsewhere_is_taken(serving, file):
    large = file(size=(400, 300))
    with serving(Limits(picture_bytes=len(large), json_bytes=4096)) as client:
        assert clicked(client, large).status_code == 200
        assert clicked(client, large + b"x").status_code == 413
