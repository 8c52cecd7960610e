"""Sizes that the program takes for multiples, where what they may be is left to torch."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from import_harness import Wrap, check, compile_module
from torch.export import Dim

from sam3_tvm.importer import import_module, symbolic_bounds

X = torch.randn(2, 3, 16, 24, generator=torch.Generator().manual_seed(0))
SMALLER, LARGER = X[:, :, 4:12, :16].clone(), torch.cat([X, X], 2)


def pooled_and_back(x):
    return F.interpolate(F.max_pool2d(x, 2), scale_factor=2) + x


def pooled_twice_and_back(x):
    return F.interpolate(F.avg_pool2d(F.avg_pool2d(x, 2), 2), scale_factor=4) + x


def space_to_depth(x):
    b, c, h, w = x.shape
    x = x.reshape(b, c, h // 2, 2, w // 2, 2).permute(0, 1, 3, 5, 2, 4)
    return x.reshape(b, 4 * c, h // 2, w // 2)


def shuffled_and_back(x):
    return F.pixel_shuffle(F.pixel_unshuffle(x, 2), 2) + x


def every_other(x):
    return torch.cat([x[:, :, 0::2, 0::2], x[:, :, 1::2, 1::2]], 1)


def halves(x):
    first, second = x.chunk(2, 2)
    return first + second


MULTIPLES = {
    pooled_and_back: 2,
    pooled_twice_and_back: 4,
    space_to_depth: 2,
    shuffled_and_back: 2,
    every_other: 2,
    halves: 2,
}


@pytest.mark.parametrize(("function", "factor"), MULTIPLES.items())
def test_a_program_for_multiples_takes_them_and_refuses_others(function, factor):
    free = {2: Dim.AUTO, 3: Dim.DYNAMIC}
    mod, _ = import_module(Wrap(function), (X,), ((free,),))
    assert f"args_0_2_by_{factor}" in symbolic_bounds(mod)
    run = compile_module(function, (X,), (free,))
    for x in (X, SMALLER, LARGER):
        (found,) = run(x)
        torch.testing.assert_close(torch.from_numpy(found), function(x))
    with pytest.raises(RuntimeError, match="17"):
        run(torch.zeros(2, 3, 17, 24))


def test_a_multiple_and_what_it_is_a_multiple_of_have_names_and_bounds():
    mod, _ = import_module(Wrap(pooled_twice_and_back), (X,), (({2: Dim.AUTO},),))
    bounds = symbolic_bounds(mod)
    assert set(bounds) == {"args_0_2", "args_0_2_by_4"}
    low, high = bounds["args_0_2_by_4"]
    assert bounds["args_0_2"] == (4 * low, None)
    assert high is None


def test_an_example_that_is_no_multiple_leaves_a_size_free():
    def cropped(x):
        y = F.interpolate(F.avg_pool2d(x, 2), scale_factor=2)
        return y + x[:, :, : y.shape[2], : y.shape[3]]

    odd = X[:, :, :15, :23].clone()
    check(cropped, odd, dynamic_shapes=({2: Dim.AUTO, 3: Dim.AUTO},), also=[(X,), (SMALLER,)])
