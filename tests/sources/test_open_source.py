"""Which tasks a source is opened for."""

from __future__ import annotations

import pytest
import torch

from sam3_tvm.abi import abi, function_names, task_of
from sam3_tvm.sizes import TASKS
from sam3_tvm.sources import SourceError, open_source


def test_only_what_is_wanted_is_in_the_abi():
    source = open_source("random:tiny")
    concepts = open_source("random:tiny", ("concepts",))
    assert source.sizes.tasks == TASKS
    assert concepts.sizes.tasks == ("concepts",)
    clicks = open_source("random:tiny", ("concepts", "clicks"))
    assert clicks.sizes.tasks == ("concepts", "clicks")
    assert tuple(abi(source.sizes)) == function_names()
    assert [*abi(concepts.sizes)] == [n for n in function_names() if task_of(n) == "concepts"]
    assert [*abi(clicks.sizes)] == [n for n in function_names() if task_of(n) != "video"]
    assert [s.name for s in abi(source.sizes)["click_decoder"].outputs][-1] == "pointers"
    assert [s.name for s in abi(clicks.sizes)["click_decoder"].outputs][-1] == "object_logits"
    assert [s.name for s in abi(concepts.sizes)["vision_encoder"].outputs][-1] == "fpn_2"
    with concepts.patched(), torch.no_grad():
        side = source.sizes.image
        assert len(concepts.component("vision_encoder")(torch.zeros(1, 3, side, side))) == 3


@pytest.mark.parametrize(
    ("tasks", "says"),
    [
        (("concepts", "walks"), "concepts, clicks"),
        (("clicks",), "concepts among them"),
        (("concepts", "video"), "concepts,clicks,video"),
    ],
)
def test_tasks_that_cannot_be_say_what_is_accepted(tasks, says):
    with pytest.raises(SourceError, match=says) as caught:
        # Before anything of that name is looked for, or downloaded.
        open_source("nowhere/nothing", tasks)
    assert "\n" not in str(caught.value)
