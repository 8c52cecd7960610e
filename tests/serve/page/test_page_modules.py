"""What the page computes by itself is what the library computes."""

from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask as coco

from sam3_tvm.runtime.pictures.colours import object_colour


def test_colours_are_the_librarys(page):
    made = page.evaluate(
        "async () => { const m = await import('/page/colours.js');"
        " return Array.from({length: 60}, (_, n) => m.objectColour(n)); }"
    )
    expected = np.array([object_colour(n) for n in range(60)])
    assert np.abs(np.array(made) - expected).max() <= 1  # halves are rounded otherwise


@pytest.mark.parametrize("step", [1, 3])
def test_masks_are_read_as_pycocotools_reads_them(page, step):
    draw = np.random.default_rng(0)
    for size in [(1, 1), (7, 5), (40, 33), (300, 200)]:
        for density in (0.0, 0.02, 0.5, 1.0):
            mask = np.asfortranarray(draw.random(size) < density, np.uint8)
            if size == (300, 200):
                mask[50:250, 60:180] ^= 1
            counts = coco.encode(mask)["counts"].decode()
            made = page.evaluate(
                "async ([size, counts, step]) => { const m = await import('/page/runs.js');"
                " const made = m.maskWindow({size, counts}, step);"
                " return {...made, data: [...made.data]}; }",
                [list(size), counts, step],
            )
            whole = np.zeros([-(-side // step) for side in size], np.uint8)
            x, y = made["x"] // step, made["y"] // step
            shape = (made["height"], made["width"])
            whole[y : y + shape[0], x : x + shape[1]] = np.reshape(made["data"], shape)
            np.testing.assert_array_equal(whole, mask[::step, ::step])
