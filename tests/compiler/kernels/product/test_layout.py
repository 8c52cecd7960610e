"""Packed weights: every value at its place, for words of one, two and four values."""

from __future__ import annotations

import numpy as np
import pytest
from dispatch_testing import build, run

from sam3_tvm.compiler.kernels.product.layout import PackedLayout

SIZES = [(1, 1), (5, 3), (8, 4), (17, 30)]


@pytest.mark.parametrize(("n", "k"), SIZES)
@pytest.mark.parametrize("pack", [1, 2, 4])
def test_a_value_lies_in_its_panel_step_row_and_word(n, k, pack):
    layout = PackedLayout(width=4, pack=pack, dtype="int8")
    rows = np.random.default_rng(n).integers(1, 100, (n, k)).astype("int8")
    packed = layout.array(rows)
    assert packed.shape == layout.shape(n, k)
    assert packed.dtype == rows.dtype
    assert packed.flags.c_contiguous
    words = packed.reshape(layout.panels(n), layout.words(k), 4, pack)
    for i in range(n):
        for j in range(k):
            assert words[i // 4, j // pack, i % 4, j % pack] == rows[i, j]
    assert np.count_nonzero(packed) == rows.size, "what is behind the rows and columns is zero"


@pytest.mark.parametrize(("n", "k"), SIZES)
@pytest.mark.parametrize("pack", [1, 2, 4])
def test_relax_packs_as_numpy_does(n, k, pack):
    layout = PackedLayout(width=4, pack=pack)

    def body(emit, w):
        return layout.packed(emit, layout.padded(emit, w))

    rows = np.arange(1, n * k + 1, dtype="float32").reshape(n, k)
    np.testing.assert_array_equal(run(build([], [("w", (n, k))], body), rows), layout.array(rows))


def test_a_vector_is_padded_to_whole_panels():
    def body(emit, bias):
        return PackedLayout(width=4, pack=2).padded(emit, bias)

    got = run(build([], [("b", (5,))], body), np.ones(5, "float32"))
    np.testing.assert_array_equal(got, [1, 1, 1, 1, 1, 0, 0, 0])
