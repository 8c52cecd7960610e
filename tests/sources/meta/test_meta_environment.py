import os
import sys

import pytest
import torch
from meta_tiny import needs_meta
from torch.utils import _triton

from sam3_tvm.sources.meta.environment import meta_environment
from sam3_tvm.sources.meta.stand_ins import PACKAGES, Absent

pytestmark = needs_meta


def state_of_the_process():
    """What running Meta's package could leave behind."""
    roots = {"sam3", *PACKAGES}
    return (
        {name: module for name, module in sys.modules.items() if name.partition(".")[0] in roots},
        list(sys.meta_path),
        dict(torch.nn.functional.__dict__),
        dict(torch.nn.init.__dict__),
        dict(torch.Tensor.__dict__),
        torch.overrides._len_torch_function_stack(),
        torch.is_grad_enabled(),
        torch.random.get_rng_state().tolist(),
        dict(os.environ),
    )


def test_the_package_is_there_inside_and_gone_outside():
    before, loaded = state_of_the_process(), set(sys.modules)
    with meta_environment():
        from sam3.model.sam3_image import Sam3Image

        assert issubclass(Sam3Image, torch.nn.Module)
        # torch itself may have loaded triton, where it is for CUDA.
        assert not {"torchvision", "timm", "triton"} & (set(sys.modules) - loaded)
    assert state_of_the_process() == before


def test_everything_is_undone_on_error_and_entering_again_changes_nothing():
    before = state_of_the_process()
    with meta_environment():
        inside = state_of_the_process()
        with meta_environment():
            assert state_of_the_process() == inside
        assert state_of_the_process() == inside
    with pytest.raises(ZeroDivisionError), meta_environment():
        raise ZeroDivisionError
    assert state_of_the_process() == before


def test_classes_stay_the_same_from_use_to_use():
    found = []
    for _ in range(2):
        with meta_environment():
            from sam3.model.sam3_image import Sam3Image
        found.append(Sam3Image)
    assert found[0] is found[1]


def test_a_package_of_the_same_name_that_was_imported_before_comes_back():
    mine = type(sys)("sam3")
    sys.modules["sam3"] = mine
    try:
        with meta_environment():
            assert sys.modules["sam3"] is not mine
        assert sys.modules["sam3"] is mine
    finally:
        del sys.modules["sam3"]


def test_others_don_t_see_the_stand_ins():
    with meta_environment():
        pass
    assert not any(name in sys.modules for name in ("torchvision", "timm", "decord"))
    # torch remembers the answer for the life of the process.
    assert not _triton.has_triton_package() or "triton" in sys.modules


def test_cuda_is_read_as_cpu_inside_only():
    with meta_environment():
        assert torch.zeros(2, device="cuda").device.type == "cpu"
        assert torch.zeros(2).to(torch.device("cuda:1")).device.type == "cpu"
        assert torch.ones(1).cuda().pin_memory().tolist() == [1.0]
    if not torch.cuda.is_available():
        with pytest.raises((AssertionError, RuntimeError)):
            torch.zeros(2, device="cuda")


def test_a_stand_in_says_so_when_it_is_to_be_run():
    box = Absent("torchvision.ops.RoIAlign", (), {})

    class Derived(box):
        pass

    def decorated():
        return 1

    assert box(decorated) is decorated
    assert isinstance(box.anything, Absent)
    with pytest.raises(ImportError, match=r"torchvision\.ops\.RoIAlign was called"):
        box(7, output_size=7)
    with pytest.raises(ImportError, match="Derived was called"):
        Derived()
