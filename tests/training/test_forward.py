from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers.models.sam3.modeling_sam3 import Sam3Model

from training.batches import Batch, Drawing, Plan
from training.forward import Inputs, detect, draw_masks, features, level
from training.model import GRID, IMAGE, MASK_GRID, TOKENS, build_model
from training.pooling import differentiable_roi_align
from training.tokenizer import train_tokenizer

MIX = {"text": 1.0, "exemplar": 1.0, "negative": 1.0}


@pytest.fixture(scope="module")
def model() -> Sam3Model:
    return build_model(train_tokenizer().get_vocab_size(), seed=0).eval()


@pytest.fixture(scope="module")
def batch() -> Batch:
    drawing = Drawing(train_tokenizer().to_str(), IMAGE, MASK_GRID, TOKENS, seed=3)
    made = drawing.batch(0, Plan(2, 2, 3, MIX))
    with_boxes = (made.box_labels >= 0).any(1)
    assert with_boxes.any()
    assert not with_boxes.all()
    return made


@torch.no_grad()
def test_sharing_a_picture_changes_no_result(model: Sam3Model, batch: Batch) -> None:
    inputs = Inputs.of(batch)
    hidden = features(model, inputs.pixels)
    levels = level(model, hidden, 0), level(model, hidden, 1), level(model, hidden, 2)
    found = detect(model, inputs, levels[2])
    queries = torch.arange(found.queries.shape[1])[None]
    for row in range(len(inputs.picture)):
        boxes = {}
        own = inputs.box_labels[row : row + 1]
        if (own >= 0).any():
            boxes = {"input_boxes": inputs.boxes[row : row + 1], "input_boxes_labels": own}
        with differentiable_roi_align():
            expected = model(
                pixel_values=inputs.pixels[inputs.picture[row]][None],
                input_ids=inputs.input_ids[row : row + 1],
                attention_mask=inputs.attention_mask[row : row + 1].long(),
                **boxes,
            )
        one = torch.tensor([row])
        masks = draw_masks(model, found, levels, one, inputs.picture[one], queries)
        x, y, w, h = found.boxes[-1, row].T
        corners = torch.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], -1)
        for ours, theirs in (
            (found.logits[-1, row], expected.pred_logits[0]),
            (found.presence[-1, row], expected.presence_logits[0, 0]),
            (corners, expected.pred_boxes[0]),
            (masks.instances[0], expected.pred_masks[0]),
            (masks.concept[0], expected.semantic_seg[0, 0]),
        ):
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


def test_first_boxes_cover_the_picture_and_differ(model: Sam3Model) -> None:
    anchors = model.detr_decoder.reference_points.weight.detach().sigmoid().numpy()
    centres = np.unique(anchors[:, :2].round(4), axis=0)
    assert len(centres) == len(anchors)
    reach = anchors[:, 2:] / 2
    x, y = np.meshgrid((np.arange(GRID) + 0.5) / GRID, (np.arange(GRID) + 0.5) / GRID)
    places = np.stack([x, y], -1).reshape(-1, 1, 2)
    assert (np.abs(places - anchors[:, :2]) <= reach).all(-1).any(1).all()


def test_equal_seeds_give_equal_models(model: Sam3Model) -> None:
    again = build_model(model.vocab_size, seed=0).state_dict()
    assert all(torch.equal(v, again[k]) for k, v in model.state_dict().items())
    other = build_model(model.vocab_size, seed=1).state_dict()
    assert not torch.equal(
        model.state_dict()["text_projection.weight"], other["text_projection.weight"]
    )
