"""The table of lessons (see lesson): symptom, cause, fix, and the modules that show it.

What ``stock`` and ``says`` record was measured with apache-tvm 0.27.0.post1 and torch
2.13.0 on the LLVM target.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch.export import Dim
from tvm import relax

from sam3_tvm.lessons.lesson import Case, Lesson
from sam3_tvm.lessons.models import (
    BooleanParameter,
    Rotary,
    Sliced,
    guarded_size,
    imports_in_any_order,
    item_slice,
    masked_attention,
    pool,
    randn,
    sample,
    sample_points,
    scaled_attention,
    softmax_of_masked,
)

__all__ = ["LESSONS"]

_N = Dim("n", min=2, max=64)
_HEIGHT, _WIDTH = Dim("height", min=2, max=64), Dim("width", min=2, max=64)

_QKV = (randn(2, 3, 5, 8), randn(2, 3, 7, 8), randn(2, 3, 7, 8))
_KEEP = randn(2, 1, 5, 7) > -0.5
_KEEP[..., 0] = True
_X = randn(4, 6)
_INTS = torch.tensor([[7, -7, 5], [-1, 0, 9]])

LESSONS: tuple[Lesson, ...] = (
    Lesson(
        1,
        "masks and attention",
        "Cannot decide min_value for type bool",
        "a boolean mask filled with -inf, and a softmax made safe by the maximum of a "
        "boolean tensor",
        "attention stays one operator, its mask becomes a bias; queries that see no key give zero",
        ("importer/converters/attention.py", "importer/converters/reductions.py"),
        (
            Case(
                "attention with a boolean mask",
                masked_attention,
                (*_QKV, _KEEP),
                stock="decomposed",
                whole="relax.nn.attention_bias",
            ),
            Case(
                "attention with a float mask",
                masked_attention,
                (*_QKV, torch.where(_KEEP, 0.0, -torch.inf)),
                stock="decomposed",
                whole="relax.nn.attention_bias",
            ),
            Case(
                "attention of a query that sees no key",
                masked_attention,
                (*_QKV, _KEEP & (torch.arange(5) != 2)[:, None]),
                stock="decomposed",
                whole="relax.nn.attention_bias",
            ),
            Case(
                "attention with scale=, not decomposed",
                scaled_attention,
                _QKV,
                stock="wrong numbers",
                decompose=False,
            ),
            Case("softmax of scores filled with -inf", softmax_of_masked, (_QKV[0], _QKV[0] > -1)),
            Case(
                "maximum of a boolean tensor",
                lambda x: (x > 0).max(),
                (_X,),
                stock="error",
                says="min_value",
            ),
            Case("amax", lambda x: x.amax(-1), (_X,), stock="error", says="amax"),
        ),
    ),
    Lesson(
        2,
        "interpolation to a symbolic size",
        "resize2d fails, or constraints on shapes are violated",
        "F.interpolate with an output size that depends on a symbolic input size",
        "sizes are computed as TIR expressions; static ones stay static; antialiasing is done",
        ("importer/converters/resampling.py", "importer/converters/antialias.py"),
        (
            Case(
                "scale_factor on a symbolic size",
                lambda x: F.interpolate(x, scale_factor=2.0, mode="bilinear"),
                (randn(1, 2, 5, 6),),
                ({2: _HEIGHT, 3: _WIDTH},),
                ((randn(1, 2, 3, 9),),),
                stock="error",
                says="'value'",
            ),
            Case(
                "the size of another tensor",
                lambda x, y: F.interpolate(x, size=y.shape[-2:], mode="bilinear"),
                (randn(1, 2, 5, 6), randn(1, 1, 7, 4)),
                (None, {2: _HEIGHT, 3: _WIDTH}),
                ((randn(1, 2, 5, 6), randn(1, 1, 11, 8)),),
                stock="error",
                says="OpaquePyObject",
            ),
            Case(
                "antialias=True",
                lambda x: F.interpolate(x, size=(4, 5), mode="bilinear", antialias=True),
                (randn(1, 2, 13, 17),),
                stock="wrong numbers",
            ),
        ),
    ),
    Lesson(
        3,
        "division between dtypes",
        "Binary operators must have the same datatype",
        "PyTorch's floor_divide mixes float tensors with integers, TVM's doesn't",
        "both sides are cast to the promoted dtype, floats are divided and then floored",
        ("importer/converters/arithmetic.py",),
        (
            Case("float // int", lambda x: x // 2, (_X,), stock="error", says="same datatype"),
            Case(
                "float // int tensor",
                lambda x, n: x // n,
                (_X[:2, :3], torch.tensor([[2, -3, 4], [-1, 5, 7]])),
                stock="error",
                says="same datatype",
            ),
            Case("int64 // int", lambda n: n // 2, (_INTS,), stock="error", says="datatype"),
            Case(
                "rounding_mode='trunc'",
                lambda n: torch.div(n, 2, rounding_mode="trunc"),
                (_INTS,),
                stock="error",
            ),
        ),
    ),
    Lesson(
        4,
        "shape guards and symbolic sizes as data",
        "Unsupported function type for aten::eq and _assert_scalar",
        "guards compare symbolic sizes, which are no tensors",
        "sizes that meet tensors become tensors; guards become bounds that the caller reads",
        ("importer/converters/symbolic.py", "importer/converters/identity.py"),
        (
            Case(
                "torch._check on a size",
                guarded_size,
                (randn(4, 6),),
                ({0: Dim("n", min=2, max=32)},),
                ((randn(9, 6),),),
            ),
            Case("a slice of .item() rows", item_slice, (_X, torch.tensor(3))),
            Case(
                "a size as a tensor, compared",
                lambda x, n: torch.tensor(x.shape[0]) == n,
                (_X, torch.tensor([4])),
                ({0: _N}, None),
                ((randn(5, 6), torch.tensor([4])),),
                stock="error",
                says="value has to be scalar or Tensor",
            ),
            Case(
                "arange(n) / n",
                lambda x: torch.arange(x.shape[0]) / x.shape[0],
                (_X,),
                ({0: _N},),
                ((randn(7, 6),),),
                stock="wrong numbers",
                says="torch.int64",
            ),
            Case(
                "float arange(n) / n",
                lambda x: torch.arange(float(x.shape[1])) / x.shape[0],
                (_X,),
                ({0: _N},),
                ((randn(7, 6),),),
                stock="error",
                says="datatype",
            ),
        ),
    ),
    Lesson(
        5,
        "slices and indices",
        "IndexError, OpaquePyObject",
        "aten.slice takes None, lists of one element and symbols; indices count from either end",
        "defaults are filled in, symbolic bounds are clamped, negative indices are wrapped",
        ("importer/converters/indexing.py", "importer/converters/shapes.py"),
        (
            Case("slices, static", Sliced(), (_X,)),
            Case(
                "slices, symbolic",
                Sliced(),
                (_X,),
                ({0: Dim("n", min=4, max=64)},),
                ((randn(9, 6),),),
            ),
            Case("x[-1]", lambda x: x[-1] * 2, (_X,), stock="wrong numbers"),
            Case(
                "select.int along the last axis", lambda x: x[:, -2], (_X,), stock="wrong numbers"
            ),
            Case(
                "x[tensor([0, -1])]",
                lambda x, n: x[n],
                (_X, torch.tensor([0, -1])),
                stock="wrong numbers",
            ),
        ),
    ),
    Lesson(
        6,
        "layer norm",
        "LLVM module verification fails",
        "relax.nn.layer_norm and debug info in some LLVM builds",
        "it stays one operator at import; the compiler takes it apart on request",
        ("importer/converters/norms.py", "compiler/algebra/decompose_layer_norm.py"),
        (
            Case(
                "layer norm, whole",
                torch.nn.LayerNorm(6),
                (_X,),
                ({0: _N},),
                whole="relax.nn.layer_norm",
            ),
            Case(
                "layer norm, decomposed",
                torch.nn.LayerNorm(6),
                (_X,),
                ({0: _N},),
                transform=relax.transform.LegalizeOps(),
            ),
        ),
    ),
    Lesson(
        7,
        "sampling at points and in boxes",
        "rank mismatch after grid_sample",
        "Relax takes the grid as (n, 2, h, w), PyTorch gives it as (n, h, w, 2); results were "
        "squeezed to another rank",
        "grid_sample is written out by ATen's rules, its rank kept; roi_align scales before it "
        "shifts",
        ("importer/converters/grid_sampling.py", "importer/converters/roi_align.py"),
        (
            Case(
                "grid_sample",
                sample,
                (randn(2, 3, 5, 6), randn(2, 2, 2, 2)),
                stock="wrong numbers",
            ),
            Case(
                "grid_sample at a symbolic number of points",
                sample_points,
                (randn(1, 3, 5, 6), randn(4, 2)),
                (None, {0: _N}),
                ((randn(1, 3, 5, 6), randn(7, 2)),),
                stock="error",
            ),
            Case("roi_align", procedure=pool((-1, 2), (False, True), 1.0)),
            Case(
                "roi_align with spatial_scale, aligned",
                procedure=pool((2,), (True,), 0.5),
                stock="wrong numbers",
            ),
        ),
    ),
    Lesson(
        8,
        "imports that don't depend on their order",
        "an export works or fails depending on what was exported before",
        "every script replaced parts of torch in its own way",
        "nothing of torch or TVM is replaced at import",
        ("importer/frontend.py", "importer/export.py"),
        (Case("two modules in both orders", procedure=imports_in_any_order),),
    ),
    Lesson(
        9,
        "products in half precision",
        "TypeError on float16 and bfloat16 models",
        "mm, bmm, matmul and linear were given a float32 result whatever their inputs",
        "the result has the dtype that PyTorch gives it",
        ("importer/converters/linear.py",),
        (
            Case(
                "linear in float16",
                torch.nn.Linear(6, 3).half(),
                (_X.half(),),
                stock="error",
                tolerance=2e-3,
            ),
            Case(
                "linear in bfloat16",
                torch.nn.Linear(6, 3).bfloat16(),
                (_X.bfloat16(),),
                stock="error",
                tolerance=2e-2,
            ),
            Case(
                "bmm in float16",
                lambda x, y: torch.bmm(x, y),
                (randn(2, 3, 4).half(), randn(2, 4, 5).half()),
                stock="wrong numbers",
                says="torch.float32",
                tolerance=2e-3,
            ),
        ),
    ),
    Lesson(
        10,
        "complex numbers",
        "Unsupported function type for view_as_complex and polar",
        "Relax has no complex dtype",
        "complex tensors become real ones with a trailing axis of 2 before conversion",
        (
            "importer/complex_rewrite.py",
            "importer/complex_rules.py",
            "importer/complex_shapes.py",
        ),
        (
            Case(
                "rotary embedding",
                Rotary(),
                (randn(2, 3, 6, 8),),
                ({0: _N},),
                ((randn(5, 3, 6, 8),),),
                stock="error",
            ),
            Case(
                "polar",
                lambda r, t: torch.view_as_real(torch.polar(r, t)),
                (_X.abs(), _X),
                stock="error",
                says="polar",
            ),
        ),
    ),
    Lesson(
        11,
        "reductions, scatter and booleans",
        "Unsupported function type for aten.prod.dim_int, and others",
        "operators that the importer didn't know",
        "each has a converter, or stock TVM's holds",
        ("importer/converters/reductions.py", "importer/converters/scatter.py"),
        (
            Case("prod along an axis", lambda x: x.prod(-1), (_X,), stock="error", says="prod"),
            Case(
                "scatter",
                lambda x, n, y: x.scatter(1, n, y),
                (_X, torch.tensor([[0, 5], [1, 2], [3, 3], [4, 0]]), randn(4, 2) * 0 + 1),
            ),
            Case("boolean parameters and sums", BooleanParameter(), (_X[:, :3],)),
        ),
    ),
)
"""Every lesson, in the order of their ids."""
