import pytest
import torch
import tvm
from import_harness import Wrap, check
from torch.export import Dim
from tvm import relax

from sam3_tvm.importer import UnsupportedOperators, import_module, symbolic_bounds


class Scaled(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(4, 5)
        self.shift = torch.nn.Buffer(torch.randn(4))

    def forward(self, x):
        return self.linear(x + self.shift)


def test_parameters_keep_their_names_and_order():
    mod, params = import_module(Scaled(), (torch.randn(3, 4),))
    assert list(params) == ["linear.weight", "linear.bias"]
    assert int(mod["main"].attrs["num_input"]) == 1
    assert [tuple(p.ty.shape) for p in mod["main"].params[1:]] == [(5, 4), (5,)]


def test_buffers_are_bound_and_numbers_agree():
    check(Scaled(), torch.randn(3, 4))


def test_unsupported_operators_are_listed_all_at_once_with_their_source_lines():
    def forward(x):
        return torch.linalg.eigvalsh(x), torch.special.ndtri(x)

    with pytest.raises(UnsupportedOperators) as caught:
        import_module(Wrap(forward), (torch.eye(3),))
    # As far as torch could decompose them.
    assert {"aten._linalg_eigh.default", "aten.special_ndtri.default"} <= set(
        caught.value.operators
    )
    for places in caught.value.operators.values():
        assert "test_frontend.py" in places[0]


class Sized(torch.nn.Module):
    def forward(self, x, y, size):
        return y[: x.shape[0]] + 1, x.new_zeros(size)


BATCH = Dim("batch", min=1, max=6)
SIZED = (torch.randn(4, 3), torch.randn(8), (5, 6))
SHAPES = ({0: BATCH}, {0: 2 * BATCH}, (Dim.DYNAMIC, Dim.DYNAMIC))


def test_sizes_have_the_callers_names_and_bounds():
    mod, _ = import_module(Sized(), SIZED, SHAPES)
    bounds = {"batch": (1, 6), "size_0": (0, None), "size_1": (0, None)}
    assert symbolic_bounds(mod) == bounds
    assert str(mod["main"].params[0].ty.shape[0]) == "batch"
    by_name, _ = import_module(Sized(), SIZED, dict(zip(("x", "y", "size"), SHAPES, strict=True)))
    tvm.ir.assert_structural_equal(mod, by_name)


def test_derived_sizes_and_sizes_as_arguments():
    check(Sized(), *SIZED, dynamic_shapes=SHAPES, also=[(torch.ones(2, 3), torch.ones(4), (1, 9))])


def test_a_size_without_a_name_is_named_after_its_input():
    mod, _ = import_module(Scaled(), (torch.randn(3, 4),), ({0: Dim.DYNAMIC},))
    assert set(symbolic_bounds(mod)) == {"x_0"}


def test_guards_of_the_model_narrow_the_bounds():
    class Guarded(torch.nn.Module):
        def forward(self, x):
            torch._check(x.shape[0] <= 6)
            return x + 1

    mod, _ = import_module(Guarded(), (torch.randn(4),), ({0: Dim.DYNAMIC},))
    assert symbolic_bounds(mod)["x_0"][1] == 6


class Branching(torch.nn.Module):
    def forward(self, x):
        return x + 1 if x.sum() > 0 else x


def torch_state(module):
    return (
        [m.training for m in module.modules()],
        torch.get_rng_state().tolist(),
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
    )


def test_importing_twice_gives_the_same_and_leaves_torch_alone():
    module = torch.nn.Sequential(Scaled(), torch.nn.Dropout())
    module[0].eval()
    before = torch_state(module)
    first, _ = import_module(module, (torch.zeros(3, 4),), ({0: BATCH},))
    second, _ = import_module(module, (torch.zeros(3, 4),), ({0: BATCH},))
    tvm.ir.assert_structural_equal(first, second)
    assert torch_state(module) == before


def test_torchs_own_error_for_what_it_cannot_export_and_its_state_after_it():
    module = Branching().train()
    before = torch_state(module)
    guard = torch.fx.experimental.symbolic_shapes.GuardOnDataDependentSymNode
    with pytest.raises(guard, match="data-dependent"):
        import_module(module, (torch.zeros(3),))
    assert torch_state(module) == before


def test_operators_without_a_converter_are_decomposed_by_torch():
    check(lambda x: (torch.addcmul(x, x, x), torch.lerp(x, x + 1, 0.3)), torch.randn(3))


def test_a_result_that_disagrees_with_torch_is_an_error():
    from sam3_tvm.importer.errors import ConversionError
    from sam3_tvm.importer.export import export
    from sam3_tvm.importer.frontend import import_program

    program = export(Wrap(lambda x: x + 1), (torch.randn(3),))
    (add,) = (n for n in program.graph.nodes if n.name == "add")
    add.meta["val"] = add.meta["val"].new_empty(4)
    with pytest.raises(ConversionError, match=r"aten\.add\.Tensor.*gave shape"):
        import_program(program)


def test_an_input_may_have_only_a_multiple_of_a_size():
    h = Dim("h", min=1, max=8)

    def forward(x):
        return x.reshape(x.shape[0] // 4, 4, 3).sum(1), x * 2

    check(forward, torch.randn(8, 3), dynamic_shapes=({0: 4 * h},), also=[(torch.randn(20, 3),)])
    mod, _ = import_module(Wrap(forward), (torch.randn(8, 3),), (({0: 4 * h},),))
    assert symbolic_bounds(mod) == {"h": (1, 8), "args_0_0": (4, 32)}
    machine = relax.VirtualMachine(tvm.compile(mod, "llvm"), tvm.cpu())
    with pytest.raises(Exception, match="match"):
        machine["main"](tvm.runtime.tensor(torch.randn(6, 3).numpy()))


def test_multiples_and_sums_of_one_size_in_several_inputs():
    h = Dim("h", min=1, max=8)

    class Both(torch.nn.Module):
        def forward(self, x, y):
            return x.repeat(2) + y[1:]

    sizes = ({0: 2 * h}, {0: 4 * h + 1})
    more = [(torch.randn(4), torch.randn(9))]
    check(Both(), torch.randn(6), torch.randn(13), dynamic_shapes=sizes, also=more)
