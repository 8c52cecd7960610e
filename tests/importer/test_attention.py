"""Attention against PyTorch: masks of every form, ranks, lengths, and rows that see nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from import_harness import check
from torch.export import Dim

from sam3_tvm.importer import import_module


def qkv(*lead: int, queries: int = 5, keys: int = 7, width: int = 8, value_width: int = 6) -> Any:
    torch.manual_seed(0)
    return (
        torch.randn(*lead, queries, width),
        torch.randn(*lead, keys, width),
        torch.randn(*lead, keys, value_width),
    )


def boolean_mask(*shape: int) -> torch.Tensor:
    """Random, with one query that sees no key."""
    torch.manual_seed(1)
    mask = torch.rand(shape) > 0.4
    mask[..., 0, :] = False
    mask[..., -1, 0] = True
    return mask


def additive(mask: torch.Tensor) -> torch.Tensor:
    torch.manual_seed(2)
    return torch.randn(mask.shape).masked_fill(~mask, -torch.inf)


def sdpa(q: Any, k: Any, v: Any, mask: Any) -> torch.Tensor:
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


MASKS = [
    ((), (5, 7)),
    ((3,), (5, 7)),
    ((3,), (3, 5, 7)),
    ((3,), (3, 1, 7)),
    ((2, 3), (5, 7)),
    ((2, 3), (5, 1)),
    ((2, 3), (2, 1, 1, 7)),
    ((2, 3), (1, 3, 5, 7)),
    ((2, 3), (2, 3, 5, 7)),
    ((2, 2, 3), (2, 1, 1, 5, 7)),
    ((2, 2, 3), (3, 5, 7)),
]
"""Leading dimensions of the query, key and value, and the shape of a mask for them."""


def test_masks_broadcast_and_hidden_rows_are_zero() -> None:
    cases = []
    for lead, shape in MASKS:
        seen = boolean_mask(*shape)
        cases.append((*qkv(*lead), seen, additive(seen)))
        assert not sdpa(*cases[-1][:4]).isnan().any()

    def attend(*flat: Any) -> Any:
        rows = [flat[i : i + 5] for i in range(0, len(flat), 5)]
        return [(sdpa(q, k, v, m), sdpa(q, k, v, f)) for q, k, v, m, f in rows]

    check(attend, *(tensor for case in cases for tensor in case))


def test_causal_attention_aligns_at_the_top_left() -> None:
    def causal(*flat: Any) -> Any:
        rows = [flat[i : i + 3] for i in range(0, len(flat), 3)]
        return [F.scaled_dot_product_attention(*row, is_causal=True) for row in rows]

    lengths = [(6, 6), (4, 7), (7, 4)]
    check(causal, *(x for q, k in lengths for x in qkv(2, 3, queries=q, keys=k)))


def test_causal_attention_survives_scores_far_below_zero() -> None:
    q = torch.full((1, 1, 4, 8), 20.0)
    v = torch.randn(1, 1, 4, 8)
    check(
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True), q, -q, v, rtol=1e-4
    )


def test_scale_grouped_queries_and_a_batch_that_broadcasts() -> None:
    def attend(q: Any, k: Any, v: Any) -> Any:
        scaled = [F.scaled_dot_product_attention(q, k, v, scale=s) for s in (0.1, 1.0, 2.0)]
        grouped = F.scaled_dot_product_attention(q, k[:, :2], v[:, :2], enable_gqa=True)
        return scaled, grouped, F.scaled_dot_product_attention(q, k[:1], v[:1])

    check(attend, *qkv(2, 6))


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, 1e-12), (torch.float16, 1e-3), (torch.bfloat16, 8e-3)],
)
def test_dtypes(dtype: torch.dtype, tolerance: float) -> None:
    q, k, v = (x.to(dtype) for x in qkv(1, 2, keys=300))
    mask = boolean_mask(5, 300)
    check(sdpa, q, k, v, mask, rtol=tolerance, atol=tolerance)


def test_batch_and_both_lengths_vary() -> None:
    b, lq, lk = Dim("b", min=1, max=8), Dim("lq", min=1, max=64), Dim("lk", min=1, max=64)

    def sample(batch: int, queries: int, keys: int) -> tuple[Any, ...]:
        q, k, v = qkv(batch, 3, queries=queries, keys=keys)
        return q, k, v, boolean_mask(batch, 1, queries, keys)

    check(
        sdpa,
        *sample(2, 5, 7),
        dynamic_shapes=({0: b, 2: lq}, {0: b, 2: lk}, {0: b, 2: lk}, {0: b, 2: lq, 3: lk}),
        also=[sample(1, 1, 1), sample(3, 9, 4)],
    )


def test_causal_lengths_vary() -> None:
    n, m = Dim("n", min=1, max=64), Dim("m", min=1, max=64)
    check(
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
        *qkv(2, 3),
        dynamic_shapes=({2: n}, {2: m}, {2: m}),
        also=[qkv(2, 3, queries=9, keys=4)],
    )


class Attend(torch.nn.Module):
    """An unmodified MultiheadAttention with whatever masks are given."""

    def __init__(self, *, batch_first: bool, need_weights: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inner = torch.nn.MultiheadAttention(16, 4, batch_first=batch_first)
        self.need_weights = need_weights

    def forward(self, q: Any, k: Any, padding: Any = None, mask: Any = None) -> Any:
        out, weights = self.inner(
            q, k, k, key_padding_mask=padding, attn_mask=mask, need_weights=self.need_weights
        )
        return (out, weights) if self.need_weights else out


PADDING = torch.tensor([[False, False, False, True], [False, True, False, True]])
MASK = torch.tensor([[False, True, False, False]] * 3)


def test_multihead_attention_unmodified() -> None:
    torch.manual_seed(3)
    module = Attend(batch_first=True)
    float_padding = torch.zeros(2, 4).masked_fill(PADDING, -torch.inf)

    class Masked(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attend = module

        def forward(self, q: Any, k: Any, pad: Any, mask: Any, *others: Any) -> Any:
            float_pad, float_mask, per_head = others
            return (
                self.attend(q, k),
                self.attend(q, k, pad),
                self.attend(q, k, None, mask),
                self.attend(q, k, pad, mask),
                self.attend(q, k, float_pad),
                self.attend(q, k, None, float_mask),
                self.attend(q, k, float_pad, per_head),
            )

    check(
        Masked(),
        *(torch.randn(2, 3, 16), torch.randn(2, 4, 16), PADDING, MASK),
        *(float_padding, torch.randn(3, 4), torch.randn(8, 3, 4)),
    )


def test_multihead_attention_hands_out_its_weights() -> None:
    check(
        Attend(batch_first=False, need_weights=True), torch.randn(3, 2, 16), torch.randn(4, 2, 16)
    )


def test_multihead_attention_with_batch_and_prompt_length_varying() -> None:
    b, n = Dim("b", min=1, max=8), Dim("n", min=2, max=64)
    torch.manual_seed(4)
    check(
        Attend(batch_first=True),
        torch.randn(2, 3, 16),
        torch.randn(2, 4, 16),
        PADDING,
        dynamic_shapes=({0: b}, {0: b, 1: n}, {0: b, 1: n}),
        also=[(torch.randn(3, 3, 16), torch.randn(3, 6, 16), torch.rand(3, 6) > 0.6)],
    )


def test_a_transformer_layer_unmodified() -> None:
    torch.manual_seed(5)
    layer = torch.nn.TransformerDecoderLayer(16, 4, 32, batch_first=True)
    check(layer, torch.randn(2, 3, 16), torch.randn(2, 4, 16))


def test_attention_stays_one_operator() -> None:
    mod, _ = import_module(
        Attend(batch_first=True), (torch.randn(2, 3, 16),) * 2 + (PADDING[:, :3],)
    )
    text = mod.script()
    assert text.count("R.nn.attention_bias(") == 1
    assert "softmax" not in text
