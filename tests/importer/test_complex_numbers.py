"""Complex arithmetic as real pairs, operator by operator, then whole rotary embeddings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from import_harness import Wrap, compare, compile_module
from torch.export import Dim

from sam3_tvm.importer import UnsupportedOperators, complex_numbers, complex_rewrite, import_module
from sam3_tvm.importer.export import export

C64 = torch.complex64


def draw(*shape: int, dtype: torch.dtype = C64, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def as_real(value: Any) -> Any:
    """What the compiled module is to take or give: complex tensors as pairs."""
    if isinstance(value, tuple | list):
        return type(value)(as_real(v) for v in value)
    if isinstance(value, torch.Tensor) and value.is_complex():
        return torch.view_as_real(value.resolve_conj()).contiguous()
    return value


def check_complex(
    module: torch.nn.Module | Callable[..., Any],
    *args: Any,
    dynamic_shapes: Any = None,
    also: Sequence[Sequence[Any]] = (),
    rtol: float = 1e-5,
    atol: float = 1e-6,
) -> None:
    """The harness's check, for modules that take and give complex tensors."""
    run = compile_module(module, args, dynamic_shapes)
    for inputs in (args, *also):
        with torch.no_grad():
            compare(run(*as_real(inputs)), as_real(module(*inputs)), rtol, atol)


def check_each(operators: dict[str, Callable[..., Any]], *args: Any, **options: Any) -> None:
    """Several operators in one build; a failure names the operator."""

    def together(*inputs: Any) -> tuple[Any, ...]:
        return tuple(f(*inputs) for f in operators.values())

    run = compile_module(together, args, options.get("dynamic_shapes"))
    for inputs in (args, *options.get("also", ())):
        got = run(*as_real(inputs))
        assert len(got) == len(operators)
        for name, ours, f in zip(operators, got, operators.values(), strict=True):
            try:
                compare([ours], as_real(f(*inputs)), 1e-5, 1e-6)
            except AssertionError as error:
                raise AssertionError(f"{name}: {error}") from error


ROWS = Dim("rows", min=1, max=16)

ARITHMETIC = {
    "add": lambda x, y, r: x + y,
    "add with alpha": lambda x, y, r: torch.add(x, y, alpha=3),
    "add with complex alpha": lambda x, y, r: torch.add(x, y, alpha=2 - 1j),
    "add a real tensor": lambda x, y, r: r + x,
    "add a complex number": lambda x, y, r: x + (1 - 2j),
    "add a real number": lambda x, y, r: x + 2.5,
    "subtract": lambda x, y, r: x - y,
    "subtract a real tensor with alpha": lambda x, y, r: torch.sub(x, r, alpha=2),
    "subtract from a number": lambda x, y, r: 1 - x,
    "subtract from a complex number": lambda x, y, r: (2 + 1j) - x,
    "multiply": lambda x, y, r: x * y,
    "multiply by a real tensor": lambda x, y, r: r * x,
    "multiply by a complex number": lambda x, y, r: x * (0.5 - 2j),
    "multiply by a real number": lambda x, y, r: 3 * x,
    "real tensor by a complex number": lambda x, y, r: r * 2j,
    "integer tensor by a complex number": lambda x, y, r: (r > 0).long() * (1 + 1j),
    "divide": lambda x, y, r: x / y,
    "divide by a real tensor": lambda x, y, r: x / (r + 10),
    "divide a real tensor": lambda x, y, r: r / y,
    "divide by a complex number": lambda x, y, r: x / (3 - 4j),
    "divide a number": lambda x, y, r: 2 / y,
    "reciprocal": lambda x, y, r: torch.reciprocal(x),
    "multiply by a size": lambda x, y, r: x * x.shape[0],
    "add a size": lambda x, y, r: x + x.shape[0],
    "subtract from a size": lambda x, y, r: x.shape[0] - x,
    "divide by a size": lambda x, y, r: x / x.shape[0],
    "negate": lambda x, y, r: -x,
    "conjugate": lambda x, y, r: x.conj(),
    "conjugate in memory": lambda x, y, r: torch.conj_physical(x) * 1,
    "imaginary part of a conjugate": lambda x, y, r: x.conj().imag,
    "negated imaginary part": lambda x, y, r: (-x).imag,
    "real part": lambda x, y, r: x.real,
    "imaginary part": lambda x, y, r: x.imag,
    "magnitude": lambda x, y, r: x.abs(),
    "phase": lambda x, y, r: torch.angle(x),
    "exponential": lambda x, y, r: torch.exp(x),
    "exponential of an imaginary tensor": lambda x, y, r: torch.exp(1j * r),
    "equal": lambda x, y, r: x == torch.where(r > 0, x, y),
    "not equal": lambda x, y, r: x != torch.where(r > 0, x, y),
    "equal to a number": lambda x, y, r: (x * 0 + 1j) == 1j,
    "equal to a real tensor": lambda x, y, r: torch.where(r > 0, x, r) == r,
    "where": lambda x, y, r: torch.where(r > 0, x, y),
    "where with a real tensor": lambda x, y, r: torch.where(r > 0, r, x),
    "where with a number": lambda x, y, r: torch.where(r > 0, x, 2.0),
    "masked fill": lambda x, y, r: x.masked_fill(r > 0, -1.0),
}


@pytest.mark.slow
def test_arithmetic_broadcasts() -> None:
    args = (draw(3, 1, 4), draw(2, 4, seed=1), torch.randn(3, 2, 4))
    more = (draw(5, 1, 4), draw(2, 4, seed=2), torch.randn(5, 2, 4))
    check_each(ARITHMETIC, *args, dynamic_shapes=({0: ROWS}, None, {0: ROWS}), also=[more])


SHAPE = {
    "view": lambda x, n: x.view(-1, 2, 6),
    "reshape of a transposed tensor": lambda x, n: x.transpose(0, -1).reshape(4, -1),
    "flatten": lambda x, n: x.flatten(-2),
    "flatten everything": lambda x, n: x.flatten(),
    "unflatten": lambda x, n: x.unflatten(-1, (2, -1)),
    "expand": lambda x, n: x[:, :1].expand(-1, 5, -1),
    "expand with a new axis": lambda x, n: x[0].expand(2, 3, 4),
    "expand_as": lambda x, n: x[:, :1].expand_as(x),
    "broadcast_to": lambda x, n: torch.broadcast_to(x[0, 0], (3, 4)),
    "repeat": lambda x, n: x.repeat(2, 1, 1, 3),
    "tile": lambda x, n: x.tile((2, 3)),
    "permute": lambda x, n: x.permute(-1, 0, 1),
    "transpose": lambda x, n: x.transpose(-1, 1),
    "conjugate transpose": lambda x, n: x.mH,
    "t": lambda x, n: x[0].t(),
    "movedim": lambda x, n: x.movedim(-1, 0),
    "squeeze": lambda x, n: x.unsqueeze(0).squeeze(),
    "squeeze an axis": lambda x, n: x.unsqueeze(-2).squeeze(-2),
    "squeeze axes": lambda x, n: x[None, ..., None].squeeze((0, -1)),
    "unsqueeze": lambda x, n: x.unsqueeze(-1),
    "cat": lambda x, n: torch.cat([x, x.conj()], -1),
    "cat with a real tensor": lambda x, n: torch.cat([x.real, x], dim=1),
    "stack": lambda x, n: torch.stack([x, 2 * x], -1),
    "slice": lambda x, n: x[..., 1::2],
    "slice from the end": lambda x, n: x[:, -2:, :-1],
    "select": lambda x, n: x[:, 1],
    "select from the end": lambda x, n: x[..., -1],
    "index": lambda x, n: x[:, n],
    "index two axes": lambda x, n: x[:, n, n],
    "index_select": lambda x, n: x.index_select(-1, n),
    "narrow": lambda x, n: x.narrow(-1, 1, 2),
    "unbind": lambda x, n: x.unbind(-1)[2],
    "chunk": lambda x, n: x.chunk(2, -1)[1],
    "split": lambda x, n: x.split([1, 2], 1)[1],
    "flip": lambda x, n: x.flip(-1, 0),
    "roll": lambda x, n: x.roll(1, -1),
    "roll the flattened tensor": lambda x, n: x[0].roll(2),
    "clone": lambda x, n: x.clone(),
    "contiguous": lambda x, n: x.transpose(1, 2).contiguous(),
    "view as the parts": lambda x, n: x.view(torch.float32),
    "view of the parts": lambda x, n: (x.view(torch.float32) * 2).view(C64),
    "sum": lambda x, n: x.sum(),
    "sum along axes": lambda x, n: x.sum((-1, 0)),
    "sum keeping the axis": lambda x, n: x.sum(-1, keepdim=True),
    "sum of a real tensor": lambda x, n: x.real.sum(-1, dtype=C64),
    "mean": lambda x, n: x[0].mean(),
    "mean along an axis": lambda x, n: x.mean(-2),
    "cumulative sum": lambda x, n: x.cumsum(-1),
    "size": lambda x, n: x.real + x.shape[0] + x.size(-1),
    "matmul": lambda x, n: x @ x.mT,
    "matrix times vector": lambda x, n: x @ x[0, 0],
    "dot product": lambda x, n: x[0, 0] @ x[0, 1],
    "mm": lambda x, n: x[0] @ x[0].t().conj(),
    "linear": lambda x, n: torch.nn.functional.linear(x, x[0], x[0, :, 0]),
}


@pytest.mark.parametrize(
    "symbolic",
    [pytest.param(False, id="static", marks=pytest.mark.slow), pytest.param(True, id="symbolic")],
)
def test_shape_operators_keep_the_pair(symbolic: bool) -> None:
    indices = torch.tensor([2, 0, 1])
    check_each(
        SHAPE,
        draw(2, 3, 4),
        indices,
        dynamic_shapes=({0: ROWS}, None) if symbolic else None,
        also=[(draw(7, 3, 4, seed=3), indices)] if symbolic else (),
    )


CREATION = {
    "zeros": lambda x: x + torch.zeros(x.shape, dtype=C64),
    "ones": lambda x: x * torch.ones(x.shape[0], 1, dtype=C64),
    "full": lambda x: torch.full((x.shape[0], 2), 1 - 3j),
    "full of a real number": lambda x: torch.full((2,), 4.0, dtype=C64),
    "zeros_like": lambda x: torch.zeros_like(x),
    "ones_like a real tensor": lambda x: torch.ones_like(x.real, dtype=C64),
    "full_like": lambda x: torch.full_like(x, 2j),
    "new_zeros": lambda x: x.new_zeros(3, x.shape[0]),
    "new_ones": lambda x: x.new_ones(2),
    "new_full": lambda x: x.new_full((2, 2), 1j),
    "scalar_tensor": lambda x: torch.scalar_tensor(2 + 1j, dtype=C64),
    "constant": lambda x: x * torch.tensor([1j, 2.0]),
    "polar": lambda x: torch.polar(torch.ones_like(x.real), x.imag),
    "polar that broadcasts": lambda x: torch.polar(x.real[:, :1], x.imag),
    "complex": lambda x: torch.complex(x.imag, x.real),
    "complex that broadcasts": lambda x: torch.complex(x.imag[:, :1], x.real[0]),
    "to complex": lambda x: x.real.to(C64),
    "to complex128": lambda x: x.to(torch.complex128) * 2,
    "to complex64 again": lambda x: (x.to(torch.complex128) / 3).to(C64),
    "promotion by a float64 tensor": lambda x: x * x.real.double(),
    "promotion by a complex128 tensor": lambda x: x + x.to(torch.complex128),
    "to real": lambda x: x.to(torch.float32),
    "to bool": lambda x: torch.stack([x * 0, x.imag * 1j, x]).to(torch.bool),
    "type_as": lambda x: x.real.double().type_as(x),
    "view_as_complex": lambda x: torch.view_as_complex(torch.stack([x.imag, x.real], -1)),
    "view_as_real": lambda x: torch.view_as_real(x * 1j),
}


def test_creation_and_conversion() -> None:
    check_each(
        CREATION,
        draw(3, 2),
        dynamic_shapes=({0: ROWS},),
        also=[(draw(1, 2, seed=4),), (draw(6, 2, seed=5),)],
    )


def test_single_numbers_have_no_axis_to_work_on() -> None:
    check_each(
        {
            "sum": lambda x: x.sum(-1),
            "mean": lambda x: x.mean(),
            "cumulative sum": lambda x: x.cumsum(-1),
            "squeeze": lambda x: x.squeeze(-1),
            "flip": lambda x: x.flip(0),
            "roll": lambda x: x.roll(1),
            "unsqueeze": lambda x: x.unsqueeze(-1),
            "reshape": lambda x: x.reshape(1, 1),
            "expand": lambda x: x.expand(3),
        },
        draw(),
    )


def test_einsum_of_any_number_of_factors() -> None:
    check_each(
        {
            "two complex": lambda x, y: torch.einsum("bi,io->bo", x, y),
            "three": lambda x, y: torch.einsum("bi,io,bi->o", x, y, x),
            "four": lambda x, y: torch.einsum("bi,bi,bi,bi->bi", x, x, x, x),
            "one": lambda x, y: torch.einsum("bi->i", x),
            "conjugated": lambda x, y: torch.einsum("bi,bi->b", x, x.conj()),
        },
        draw(2, 3),
        draw(3, 4, seed=1),
    )


def test_a_padded_spectrum_keeps_its_batch_free() -> None:
    check_complex(
        lambda x: torch.fft.irfft(torch.nn.functional.pad(torch.fft.rfft(x)[..., :3], (0, 2)), n=8),
        torch.randn(2, 8),
        dynamic_shapes=({0: Dim("batch", min=1, max=8)},),
        also=[(torch.randn(n, 8),) for n in (1, 3)],
    )


def test_complex128_keeps_double_precision() -> None:
    x, y = draw(4, 3, dtype=torch.complex128), draw(4, 3, dtype=torch.complex128, seed=1)
    check_complex(lambda x, y: (x * y, x / y, x.abs(), x.sum(-1)), x, y, rtol=1e-13, atol=1e-14)


def test_magnitude_and_quotient_survive_extreme_numbers() -> None:
    parts = torch.tensor([0.0, 1e-38, 1e-30, -1.0, 3e18, -1e30, 2e38])
    x = torch.complex(*torch.meshgrid(parts, parts, indexing="ij"))
    check_complex(lambda x: x.abs(), x, atol=0)
    nonzero = x.flatten()[1:]
    # Not PyTorch's own quotient: it says 0 for the largest of these numbers by itself.
    run = compile_module(lambda x, y: x / y, (0.5 * nonzero, nonzero))
    got = run(as_real(0.5 * nonzero), as_real(nonzero))
    compare(got, as_real(torch.full_like(nonzero, 0.5)), 1e-6, 1e-6)
    infinite = torch.tensor([complex(torch.inf, 1), complex(-2, -torch.inf), complex(torch.nan, 1)])
    check_complex(lambda x: (x.abs(), x.angle()), infinite)


class Coefficients(torch.nn.Module):
    """Complex state of every kind."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(draw(3, 4, seed=1))
        self.gain = torch.nn.Parameter(torch.randn(4))
        self.register_buffer("kept", draw(3, 4, seed=2))
        self.register_buffer("dropped", draw(3, 4, seed=3).conj(), persistent=False)
        self.constant = draw(4, seed=4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x * self.weight + self.kept) * self.dropped * self.gain - self.constant


def test_complex_state_of_every_kind() -> None:
    module = Coefficients()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    check_complex(module, draw(2, 3, 4), dynamic_shapes=({0: ROWS},), also=[(draw(5, 3, 4),)])
    for name, value in module.state_dict().items():
        assert value.dtype == before[name].dtype, f"the module's own {name} was changed"
        assert torch.equal(value, before[name])


def test_parameters_come_out_as_pairs_under_their_names() -> None:
    module = Coefficients()
    _, params = import_module(module, (draw(2, 3, 4),))
    assert list(params) == ["weight", "gain"]
    np.testing.assert_array_equal(
        params["weight"].numpy(), torch.view_as_real(module.weight.detach()).numpy()
    )


def axial_frequencies(dim: int, width: int, height: int, theta: float = 1e4) -> torch.Tensor:
    """Rotations of a width x height grid: the first half of the channels turns with x, the
    second with y. Shape (width * height, dim / 2)."""
    rates = 1.0 / theta ** (torch.arange(0, dim, 4)[: dim // 4].float() / dim)
    cell = torch.arange(width * height, dtype=torch.float32)
    x, y = cell % width, torch.div(cell, width, rounding_mode="floor")
    turns = [torch.outer(p, rates) for p in (x, y)]
    return torch.cat([torch.polar(torch.ones_like(t), t) for t in turns], dim=-1)


def rotate(q: torch.Tensor, k: torch.Tensor, turns: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Rotary embedding of queries and keys (batch, heads, tokens, channels), by complex
    products; keys may hold several grids one after the other."""
    q_ = torch.view_as_complex(q.float().reshape(*q.shape[:-1], -1, 2))
    k_ = torch.view_as_complex(k.float().reshape(*k.shape[:-1], -1, 2))
    turns = turns.view(1, 1, *turns.shape)
    q_out = torch.view_as_real(q_ * turns).flatten(3)
    times = k_.shape[-2] // q_.shape[-2]
    if times > 1:
        turns = turns.repeat(*([1] * (turns.ndim - 2)), times, 1)
    k_out = torch.view_as_real(k_ * turns).flatten(3)
    return q_out.type_as(q), k_out.type_as(k)


class Rotary(torch.nn.Module):
    """Rotary embedding whose rotations are a buffer, as in the ViT of SAM 3."""

    def __init__(self, persistent: bool) -> None:
        super().__init__()
        self.register_buffer("turns", axial_frequencies(16, 4, 3), persistent=persistent)

    def forward(self, q: torch.Tensor, k: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return rotate(q, k, self.turns)


@pytest.mark.parametrize("persistent", [False, True])
def test_rotary_embedding_with_symbolic_batch(persistent: bool) -> None:
    q, k = torch.randn(2, 3, 12, 16), torch.randn(2, 3, 24, 16)
    check_complex(
        Rotary(persistent),
        q,
        k,
        dynamic_shapes=({0: ROWS}, {0: ROWS}),
        also=[(torch.randn(5, 3, 12, 16), torch.randn(5, 3, 24, 16))],
    )


def test_rotary_embedding_with_symbolic_sequence() -> None:
    """Rotations made in forward, for as many positions as there are tokens."""

    def rope(q: torch.Tensor) -> torch.Tensor:
        rates = 1.0 / 1e4 ** (torch.arange(0, 16, 2).float() / 16)
        angles = torch.arange(q.shape[2]).float()[:, None] * rates
        turns = torch.polar(torch.ones_like(angles), angles)
        paired = torch.view_as_complex(q.reshape(*q.shape[:-1], -1, 2))
        return torch.view_as_real(paired * turns).flatten(3)

    tokens = Dim("tokens", min=2, max=64)
    check_complex(
        rope,
        torch.randn(2, 3, 12, 16),
        dynamic_shapes=({0: ROWS, 2: tokens},),
        also=[(torch.randn(1, 3, 40, 16),)],
        atol=1e-5,
    )


def test_rotary_embedding_in_half_precision_input() -> None:
    q, k = torch.randn(2, 3, 12, 16).half(), torch.randn(2, 3, 12, 16).half()
    check_complex(Rotary(False), q, k, rtol=1e-3, atol=1e-3)


class Described(torch.fx.Interpreter):
    """Runs a graph and compares each value with its node's metadata."""

    def run_node(self, n: torch.fx.Node) -> Any:
        value = super().run_node(n)
        if isinstance(value, torch.Tensor):
            fake = n.meta["val"]
            assert value.dtype == fake.dtype, n.format_node()
            assert list(value.shape) == [
                s if isinstance(s, int) else s.node.hint for s in fake.shape
            ], n.format_node()
        return value


def test_rewritten_graph_is_real_valid_and_keeps_its_stack_traces() -> None:
    q = torch.randn(2, 3, 12, 16)
    program = export(Rotary(False), (q, q), ({0: ROWS}, {0: ROWS}))
    complex_rewrite.rewrite(program)
    program.graph.lint()
    outputs = [n.name for n in program.graph.output_node().args[0]]
    assert outputs == [s.arg.name for s in program.graph_signature.output_specs]
    for node in program.graph.nodes:
        assert not complex_rewrite.touches_complex(node), node.format_node()
        if node.op == "call_function" and node.target is not torch.ops.aten.sym_size.int:
            assert "test_complex_numbers.py" in node.meta["stack_trace"], node.format_node()
    # What the metadata says of every node is what running the graph gives.
    Described(program.graph_module).run(as_real(Rotary(False).turns), q, q)


def test_graph_without_complex_tensors_is_left_alone() -> None:
    program = export(Wrap(lambda x: x + 1), (torch.ones(2),))
    before = str(program.graph)
    complex_rewrite.rewrite(program)
    assert str(program.graph) == before


def test_unsupported_complex_operators_are_listed_with_their_lines() -> None:
    class Spectrum(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            z = torch.complex(x, x)
            return torch.special.ndtri(torch.asin(z * torch.sinh(z)).real)

    with pytest.raises(UnsupportedOperators) as caught:
        import_module(Spectrum(), (torch.randn(3, 3),))
    listed = caught.value.operators
    assert {"aten.sinh.default", "aten.asin.default", "aten.special_ndtri.default"} == set(listed)
    assert all("test_complex_numbers.py" in place for p in listed.values() for place in p), listed


def test_two_rules_for_one_operator_are_refused() -> None:
    with pytest.raises(ValueError, match="rule for complex tensors already"):
        complex_numbers.rule(torch.ops.aten.polar.default)(lambda e: None)
