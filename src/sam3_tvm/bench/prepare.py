"""Jobs done once, each in a process of its own: checkpoint, reference, files of other engines,
quick model."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from sam3_tvm.abi import abi
from sam3_tvm.bench.engines import first_line
from sam3_tvm.bench.engines.base import model_file
from sam3_tvm.bench.parts import (
    Part,
    external_inputs,
    run_part,
    save_arrays,
    select_parts,
    usual_sizes,
)
from sam3_tvm.bench.quantizing import quantize, save_sample
from sam3_tvm.components import Component, abi_to_json
from sam3_tvm.sources import open_source
from sam3_tvm.sources.base import Source
from sam3_tvm.sources.sampling import sample_inputs

__all__ = ["JOBS", "count_flops", "export_onnx", "quick_model", "reference", "save_checkpoint"]

# What torch.export and the exporter to ONNX raise: their own errors derive from RuntimeError.
_EXPORT_ERRORS = (RuntimeError, ValueError, TypeError, AttributeError, NotImplementedError)


def save_checkpoint(
    checkpoint: str, tasks: Sequence[str], image_size: int | None, folder: str
) -> None:
    """Write what some tasks take of a random checkpoint to a folder in Hugging Face's layout.

    So that PyTorch's load time is that of reading a checkpoint, not of drawing random numbers.
    """
    source: Any = open_source(checkpoint, tasks, image_size)
    if source.sizes.clicks is None:
        _write(source.model, source.tokenizer_json(), Path(folder))
    else:
        _write_both_halves(source, Path(folder))


def quick_model(folder: str) -> None:
    """Write a checkpoint of few layers at SAM 3's widths, with random weights.

    Three ViT layers, one of them global, on a picture of 672 x 672: four windows of 24 x 24
    patches, so windowed and global attention differ as in the real model. One layer of the
    text encoder, and of each part of the detector.
    """
    from transformers import Sam3Config
    from transformers.initialization import no_init_weights
    from transformers.models.sam3.modeling_sam3 import Sam3Model

    from sam3_tvm.sources.random_weights import byte_tokenizer, randomise

    vocabulary = 1024
    config = Sam3Config(
        vision_config={
            "backbone_config": {
                "model_type": "sam3_vit_model",
                "num_hidden_layers": 3,
                "global_attn_indexes": [2],
                "image_size": 672,
            },
            "backbone_feature_sizes": [[192, 192], [96, 96], [48, 48]],
        },
        text_config={
            "model_type": "clip_text_model",
            "vocab_size": vocabulary,
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "projection_dim": 512,
            "num_hidden_layers": 1,
            "num_attention_heads": 16,
            "max_position_embeddings": 32,
            "hidden_act": "gelu",
            "bos_token_id": vocabulary - 2,
            "eos_token_id": vocabulary - 1,
            "pad_token_id": vocabulary - 1,
        },
        geometry_encoder_config={"num_layers": 1},
        detr_encoder_config={"num_layers": 1},
        detr_decoder_config={"num_layers": 1},
    )
    with no_init_weights():
        model = Sam3Model(config)
    randomise(model, seed=0)
    _write(model, byte_tokenizer(vocabulary).to_str(), Path(folder))


def _write(model: Any, tokenizer: str, folder: Path) -> None:
    model.save_pretrained(folder)
    (folder / "tokenizer.json").write_text(tokenizer, encoding="utf-8")


def _write_both_halves(source: Any, folder: Path) -> None:
    """Write detector and tracker as ``facebook/sam3`` holds them."""
    from transformers.models.sam3_video.configuration_sam3_video import Sam3VideoConfig

    tracker = source.video_tracker
    parts = {
        "detector_model": source.model.state_dict(),
        "tracker_neck": tracker.vision_encoder.neck.state_dict(),
        "tracker_model": {
            name: tensor
            for name, tensor in tracker.state_dict().items()
            if not name.startswith("vision_encoder.")
        },
    }
    folder.mkdir(parents=True)
    Sam3VideoConfig(
        detector_config=source.model.config.to_dict(), tracker_config=tracker.config.to_dict()
    ).save_pretrained(folder)
    named = {f"{part}.{name}": t for part, tensors in parts.items() for name, t in tensors.items()}
    save_file(named, folder / "model.safetensors", {"format": "pt"})
    (folder / "tokenizer.json").write_text(source.tokenizer_json(), encoding="utf-8")


def compile_quick(checkpoint: str, artifact: str, functions: Sequence[str] | None) -> None:
    """Compile a checkpoint's functions, or all for None, as ``sam3-tvm compile`` does."""
    from sam3_tvm.compiler import compile

    compile(checkpoint, artifact, functions=functions)


def reference(
    checkpoint: str,
    tasks: Sequence[str],
    image_size: int | None,
    parts: Sequence[str],
    threads: int,
    seed: int,
    work: str,
    samples: int = 0,
) -> dict[str, Any]:
    """Draw the inputs, run PyTorch eager on them and count its arithmetic.

    Writes ``abi.json``, and by part ``inputs/`` and ``outputs/reference/``; and by function so many
    ``samples/``: what it is given for inputs that are never measured, the next seeds', for what is
    calibrated.

    Returns:
        ``flops`` by part, see :func:`count_flops`, and ``sizes``.
    """
    torch.set_num_threads(threads)
    source, folder = open_source(checkpoint, tasks, image_size), Path(work)
    components = abi(source.sizes)
    (folder / "abi.json").write_text(json.dumps(abi_to_json(components)), encoding="utf-8")
    flops = {}
    for part in select_parts(parts, components):
        names = [spec.name for spec in external_inputs(part, components)]
        inputs = dict(zip(names, _inputs(source, part, components, seed), strict=True))
        save_arrays(folder / "inputs" / part.name, inputs)
        with torch.no_grad(), source.patched():
            outputs, flops[part.name] = count_flops(source, part, components, inputs)
            save_arrays(folder / "outputs" / "reference" / part.name, outputs)
            for number in range(samples):
                _save_sample(source, part, components, seed + 1 + number, folder, number)
    return {"flops": flops, "grid": source.sizes.grid, "image": source.sizes.image}


def _save_sample(
    source: Source,
    part: Part,
    components: dict[str, Component],
    seed: int,
    work: Path,
    number: int,
) -> None:
    """Run a part on other inputs, and keep what each function is given first."""

    def call(name: str, values: Sequence[Any]) -> Sequence[Any]:
        given = [np.asarray(v) for v in values if not isinstance(v, tuple)]
        save_sample(work, number, name, given)
        return _call(source, name, values)

    names = [spec.name for spec in external_inputs(part, components)]
    inputs = dict(zip(names, _inputs(source, part, components, seed), strict=True))
    run_part(part, components, inputs, call)


def _call(source: Source, name: str, values: Sequence[Any]) -> Sequence[Any]:
    given = source.component(name)(*values)
    return given if isinstance(given, tuple) else (given,)


def _inputs(
    source: Source, part: Part, components: dict[str, Component], seed: int
) -> tuple[Any, ...]:
    whole = Component(part.name, external_inputs(part, components), ())
    return sample_inputs(whole, usual_sizes(whole), source.vocabulary_size(), seed)


def count_flops(
    source: Source, part: Part, components: dict[str, Component], inputs: dict[str, Any]
) -> tuple[dict[str, Any], int]:
    """Run a part under PyTorch's counter.

    Counted are matrix products, convolutions and attention, a multiply-add as two; norms,
    activations and other elementwise work are not. The counter knows attention on other
    devices, but not the CPU's operator; without a formula for that it would count as nothing.

    Returns:
        The outputs by name, and the count.
    """
    counter = FlopCounterMode(
        display=False,
        custom_mapping={
            torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops
        },
    )

    with counter:
        outputs = run_part(part, components, inputs, lambda n, values: _call(source, n, values))
    return outputs, int(counter.get_total_flops())


def _attention_flops(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    """``[batch, heads, length, size]`` each, of which the counter gives the shapes."""
    count: int = sdpa_flop_count(query, key, value)
    return count


def export_onnx(
    checkpoint: str,
    tasks: Sequence[str],
    image_size: int | None,
    functions: Sequence[str],
    threads: int,
    work: str,
) -> dict[str, Any]:
    """Export components to ONNX with static shapes, which every reader optimises best.

    Returns:
        ``failures``: by function, why it is not exportable.
    """
    torch.set_num_threads(threads)
    source, failures = open_source(checkpoint, tasks, image_size), {}
    components = abi(source.sizes)
    for name in functions:
        sizes = usual_sizes(components[name])
        inputs = sample_inputs(components[name], sizes, source.vocabulary_size())
        path = model_file(Path(work), "onnx", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with torch.no_grad(), source.patched():
                program = torch.onnx.export(
                    source.component(name), inputs, dynamo=True, verbose=False
                )
            assert program is not None
            program.save(path, external_data=True)
        except _EXPORT_ERRORS as error:
            failures[name] = f"not exportable to ONNX: {first_line(_cause(error))}"
    return {"failures": failures}


def _cause(error: BaseException) -> BaseException:
    """The innermost cause: the exporter wraps each error in pages of advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


JOBS: dict[str, Callable[..., Any]] = {
    "checkpoint": save_checkpoint,
    "quick": quick_model,
    "compile": compile_quick,
    "reference": reference,
    "onnx": export_onnx,
    "quantize": quantize,
}
