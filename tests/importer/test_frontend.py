import pytest
import torch
from import_harness import check

from sam3_tvm.importer import UnsupportedOperators, import_module


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
        return torch.linalg.inv(x), torch.special.i0(x)

    from import_harness import Wrap

    with pytest.raises(UnsupportedOperators) as caught:
        import_module(Wrap(forward), (torch.eye(3),))
    assert set(caught.value.operators) == {"aten.linalg_inv.default", "aten.special_i0.default"}
    for places in caught.value.operators.values():
        assert "test_frontend.py" in places[0]
