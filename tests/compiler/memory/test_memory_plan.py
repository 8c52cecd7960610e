from __future__ import annotations

import itertools
import random

import pytest

from sam3_tvm.compiler.memory.plan import ALIGNMENT, Bytes, Lifetime, plan

LOWER = {"batch": 1, "boxes": 0, "prompt": 1}
SIZES = (
    {"batch": 1, "boxes": 0, "prompt": 1},
    {"batch": 1, "boxes": 64, "prompt": 128},
    {"batch": 7, "boxes": 3, "prompt": 33},
)


def tensor(size: Bytes, first: int, last: int) -> Lifetime:
    return Lifetime(size.aligned(), first, last)


def drawn(rng: random.Random) -> list[Lifetime]:
    products = [(), ("batch",), ("batch", "prompt"), ("batch", "boxes"), ("prompt",)]
    tensors = []
    for _ in range(rng.randint(1, 30)):
        terms = {p: rng.randint(1, 5000) for p in products if rng.random() < 0.4}
        first = rng.randint(0, 30)
        tensors.append(tensor(Bytes(terms or {(): 1}), first, first + rng.randint(0, 8)))
    return tensors


@pytest.mark.parametrize("seed", range(30))
def test_tensors_needed_at_the_same_time_never_overlap_whatever_the_sizes(seed):
    tensors = drawn(random.Random(seed))
    made = plan(tensors, LOWER)
    for sizes in SIZES:
        offsets, total = made.evaluate(sizes)
        ends = [o + t.size.at(sizes) for o, t in zip(offsets, tensors, strict=True)]
        assert all(o % ALIGNMENT == 0 for o in offsets)
        assert max(ends) <= total
        for i, j in itertools.combinations(range(len(tensors)), 2):
            if tensors[i].meets(tensors[j]):
                assert ends[i] <= offsets[j] or ends[j] <= offsets[i]


def test_a_chain_needs_no_more_than_its_two_largest_neighbours():
    sizes = [64, 4096, 2048, 4096, 64]
    chain = [tensor(Bytes({("batch",): s}), i, i + 1) for i, s in enumerate(sizes)]
    made = plan(chain, LOWER)
    for batch in (1, 5):
        assert made.evaluate({"batch": batch})[1] == batch * (4096 + 2048)
    assert not made.maxima


def test_which_of_two_sizes_is_larger_may_depend_on_the_call():
    fixed, grows = Bytes.of(640), Bytes({("prompt",): 64})
    # Both die before the last is written, which must lie above one of them in any case.
    tensors = [tensor(fixed, 0, 2), tensor(grows, 3, 5), tensor(Bytes.of(64), 1, 4)]
    made = plan(tensors, LOWER)
    assert [made.evaluate({"prompt": p})[1] for p in (1, 10, 20)] == [704, 704, 64 * 20 + 64]
    assert len(made.maxima) == 1


def test_large_tensors_do_not_start_at_the_same_place_in_the_cache():
    made = plan([tensor(Bytes.of(1 << 20), 0, 1), tensor(Bytes.of(1 << 20), 0, 1)], {})
    low, high = sorted(made.evaluate({})[0])
    assert (high - low) % 4096 != 0


@pytest.mark.parametrize(
    ("larger", "smaller", "proven"),
    [
        (Bytes({("a",): 2}), Bytes({("a",): 1}), True),
        (Bytes({("a",): 1}), Bytes({("a",): 2}), False),
        (Bytes({("a", "b"): 1}), Bytes({("a",): 1}), True),  # b is at least 1
        (Bytes({("a",): 1}), Bytes({("a", "b"): 1}), False),
        (Bytes({("a", "n"): 1}), Bytes({("a",): 1}), False),  # n may be 0
        (Bytes({("a",): 5}), Bytes.of(5), True),
    ],
)
def test_one_number_of_bytes_is_at_least_another(larger, smaller, proven):
    assert larger.at_least(smaller, {"a": 1, "b": 1, "n": 0}) is proven


def test_no_tensors_need_no_memory():
    assert plan([], {}).evaluate({}) == ([], 0)
