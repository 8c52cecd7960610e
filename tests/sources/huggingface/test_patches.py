import pytest
import torch
import transformers.models.sam3.modeling_sam3 as modeling_sam3
import transformers.models.sam3_video.modeling_sam3_video as modeling_sam3_video
import tvm

from sam3_tvm.abi import abi
from sam3_tvm.importer import import_module
from sam3_tvm.sources.huggingface.patches import cpu_kernels, patched
from sam3_tvm.sources.sampling import dynamic_shapes, sample_inputs

DIMS = {"batch": 2, "boxes": 3, "prompt": 5, "queries": 4, "masks": 3, "height": 9, "width": 7}


def state_of_the_process():
    """What a patch could leave behind: the model's module, torch's functions and modes."""
    return (
        dict(modeling_sam3.__dict__),
        dict(torch.nn.functional.__dict__),
        dict(torch.nn.MultiheadAttention.__dict__),
        dict(torch.Tensor.__dict__),
        torch.overrides._len_torch_function_stack(),
        torch.is_grad_enabled(),
        torch.get_default_dtype(),
        torch.random.get_rng_state().tolist(),
    )


def test_everything_is_undone_on_exit():
    before = state_of_the_process()
    with patched(modeling_sam3):
        assert hasattr(modeling_sam3, "torchvision")
    assert state_of_the_process() == before


def test_everything_is_undone_on_error():
    before = state_of_the_process()
    with pytest.raises(ZeroDivisionError), patched(modeling_sam3), patched(modeling_sam3):
        raise ZeroDivisionError
    assert state_of_the_process() == before


def test_entering_again_changes_nothing_and_leaving_undoes_nothing():
    with patched(modeling_sam3):
        inside = state_of_the_process()
        with patched(modeling_sam3):
            assert state_of_the_process() == inside
        assert state_of_the_process() == inside


@pytest.mark.slow
def test_importing_in_any_order_and_twice_gives_equal_modules_and_leaves_torch_alone(source):
    """Lesson 8 on the components that touch what is replaced, and one that doesn't."""
    components = abi(source.sizes)

    def run(order):
        modules = {}
        for name in order:
            inputs = sample_inputs(components[name], DIMS, source.vocabulary_size())
            with source.patched():
                modules[name], _ = import_module(
                    source.component(name), inputs, dynamic_shapes(components[name])
                )
        return modules

    order = ["geometry_encoder", "scoring", "mask_decoder"]
    before = state_of_the_process()
    first = run(order)
    assert state_of_the_process() == before
    for again in (run(order), run(order[::-1])):
        for name in order:
            tvm.ir.assert_structural_equal(first[name], again[name])


def test_masks_are_held_to_each_other_as_by_transformers_in_less_memory():
    plain, generator = modeling_sam3_video.mask_iou, torch.Generator().manual_seed(0)
    one = torch.rand(5, 24, 20, generator=generator) > 0.4
    other = torch.rand(7, 24, 20, generator=generator) > 0.9
    one[2] = other[3] = False
    with cpu_kernels():
        lean = modeling_sam3_video.mask_iou
        assert lean is not plain
        assert torch.equal(lean(one, other), plain(one, other))
        assert torch.equal(lean(one, one), plain(one, one))
        assert lean(one[:0], other).shape == (0, 7)
        # As many as SAM 3 has queries; by the plain one 27 GB.
        many = torch.rand(200, 288, 288, generator=generator) > 0.5
        assert torch.equal(lean(many, many).diagonal(), torch.ones(200))
    assert modeling_sam3_video.mask_iou is plain
