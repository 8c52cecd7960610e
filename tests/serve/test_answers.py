"""In which form a client gets masks."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("fastapi")

from sam3_tvm.runtime import ClickResult
from sam3_tvm.runtime.pictures.masks import LazyMasks
from sam3_tvm.serve.answers import Form, chosen_form, click_answer
from sam3_tvm.serve.problems import Problem


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (None, Form.RUNS),
        ("", Form.RUNS),
        ("*/*", Form.RUNS),
        ("application/*", Form.RUNS),
        ("image/*", Form.PNG),
        ("image/png", Form.PNG),
        ("IMAGE/PNG", Form.PNG),
        ("application/geo+json", Form.OUTLINES),
        ("application/json;q=0.5, application/geo+json", Form.OUTLINES),
        ("application/json;q=0, */*", Form.OUTLINES),
        ("text/html, image/png;q=0.2, */*;q=0.1", Form.PNG),
    ],
)
def test_what_is_liked_best_is_sent(accept, form):
    assert chosen_form(accept) is form


@pytest.mark.parametrize("accept", ["text/html", "image/png;q=0", "image/png;q=x", ";", ","])
def test_nothing_that_is_sent_is_accepted(accept):
    with pytest.raises(Problem, match="image/png") as told:
        chosen_form(accept)
    assert told.value.status_code == 406


def test_what_is_no_json_is_not_sent():
    masks = LazyMasks((4, 4), None, made=np.zeros((1, 4, 4), bool))
    result = ClickResult(None, np.array([0.5], np.float32), float("nan"), masks)
    with pytest.raises(ValueError, match="JSON compliant"):
        click_answer(result, Form.RUNS, False, False)
