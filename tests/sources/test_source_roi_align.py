"""RoIAlign against its definition, written as the plainest loops."""

import math

import numpy as np
import pytest
import torch

from sam3_tvm.sources.roi_align import roi_align


def bilinear(image, y, x):
    height, width = image.shape
    if y < -1 or y > height or x < -1 or x > width:
        return 0.0
    y, x = max(y, 0.0), max(x, 0.0)
    y0, x0 = int(y), int(x)
    if y0 >= height - 1:
        y0 = y1 = height - 1
        y = float(y0)
    else:
        y1 = y0 + 1
    if x0 >= width - 1:
        x0 = x1 = width - 1
        x = float(x0)
    else:
        x1 = x0 + 1
    fy, fx = y - y0, x - x0
    return (
        (1 - fy) * (1 - fx) * image[y0, x0]
        + (1 - fy) * fx * image[y0, x1]
        + fy * (1 - fx) * image[y1, x0]
        + fy * fx * image[y1, x1]
    )


def by_definition(features, boxes, side, scale, ratio, aligned):
    batch, channels = features.shape[:2]
    count = boxes.shape[1]
    out = np.zeros((batch * count, channels, side, side))
    for b in range(batch):
        for n in range(count):
            x0, y0, x1, y1 = boxes[b, n] * scale - (0.5 if aligned else 0.0)
            w, h = x1 - x0, y1 - y0
            if not aligned:
                w, h = max(w, 1.0), max(h, 1.0)
            ny = ratio if ratio > 0 else math.ceil(h / side)
            nx = ratio if ratio > 0 else math.ceil(w / side)
            for c in range(channels):
                for i in range(side):
                    for j in range(side):
                        samples = [
                            bilinear(
                                features[b, c],
                                y0 + (i + (p + 0.5) / ny) * h / side,
                                x0 + (j + (q + 0.5) / nx) * w / side,
                            )
                            for p in range(ny)
                            for q in range(nx)
                        ]
                        out[b * count + n, c, i, j] = sum(samples) / max(len(samples), 1)
    return out


@pytest.mark.parametrize("ratio", [-1, 2])
@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_it_is_the_definition(ratio, aligned, scale):
    rng = np.random.default_rng(0)
    features = rng.standard_normal((2, 2, 9, 11)).astype("float32")
    # Inside, reaching out on each side, outside altogether, a point, the whole.
    boxes = (
        np.array(
            [
                [[1.2, 2.3, 7.7, 6.1], [-3.0, -2.0, 4.0, 5.0], [0, 0, 11, 9]],
                [[6.0, 5.0, 15.0, 14.0], [30.0, 30.0, 40.0, 35.0], [4.0, 4.0, 4.0, 4.0]],
            ],
            "float32",
        )
        / scale
    )
    got = roi_align(torch.tensor(features), torch.tensor(boxes), 3, scale, ratio, aligned)
    want = by_definition(features, boxes.astype("float64"), 3, scale, ratio, aligned)
    print("max error", np.abs(got.numpy() - want).max())
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-4, atol=1e-5)


def test_no_boxes_give_no_rows():
    got = roi_align(torch.randn(2, 4, 5, 5), torch.zeros(2, 0, 4), 7)
    assert got.shape == (0, 4, 7, 7)
