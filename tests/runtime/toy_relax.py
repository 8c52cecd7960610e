"""The toy SAM 3 of ``toy.py``, compiled by TVM. Run as a script it writes an artifact.

python toy_relax.py FOLDER
"""

# ruff: noqa: N805 - functions of an IRModule have no self

from __future__ import annotations

import shutil
import sys
from importlib import metadata
from pathlib import Path

import toy
import tvm
from tvm.script import ir as I
from tvm.script import relax as R
from tvm.script import tirx as T

from sam3_tvm import artifact


@I.ir_module
class ToyModule:
    @R.function
    def vision_encoder(
        pixels: R.Tensor(("b", 3, 16, 16), "float32"),
        weights: R.Tuple(R.Tensor((4, 3, 1, 1), "float32")),
    ):
        pooled = R.nn.avg_pool2d(pixels, pool_size=[2, 2], strides=[2, 2])
        fpn_0 = R.nn.conv2d(pooled, weights[0])
        fpn_1 = R.nn.avg_pool2d(fpn_0, pool_size=[2, 2], strides=[2, 2])
        fpn_2 = R.nn.avg_pool2d(fpn_1, pool_size=[2, 2], strides=[2, 2])
        return (fpn_0, fpn_1, fpn_2)

    @R.function
    def text_encoder(
        ids: R.Tensor(("b", 6), "int64"),
        mask: R.Tensor(("b", 6), "int64"),
        weights: R.Tuple(R.Tensor((4,), "float32")),
    ):
        valid = R.astype(R.multiply(ids, mask), "float32")
        return R.multiply(R.expand_dims(valid, -1), weights[0])

    @R.function
    def geometry_encoder(
        boxes: R.Tensor(("b", "n", 4), "float32"),
        labels: R.Tensor(("b", "n"), "int64"),
        mask: R.Tensor(("b", "n"), "bool"),
        fpn_2: R.Tensor(("b", 4, 2, 2), "float32"),
    ):
        b = T.int64()
        cls = R.expand_dims(R.mean(fpn_2, axis=[2, 3]), 1)
        two, one = R.const(2, "int64"), R.const(1, "int64")
        sign = R.astype(R.subtract(R.multiply(labels, two), one), "float32")
        signed = R.multiply(boxes, R.expand_dims(sign, -1))
        first = R.full(R.shape([b, 1]), R.const(True, "bool"), "bool")
        return (R.concat([cls, signed], 1), R.concat([first, mask], 1))

    @R.function
    def detr_encoder(
        fpn_2: R.Tensor(("b", 4, 2, 2), "float32"),
        prompt: R.Tensor(("b", "p", 4), "float32"),
        mask: R.Tensor(("b", "p"), "bool"),
    ):
        b = T.int64()
        valid = R.expand_dims(R.astype(mask, "float32"), -1)
        total = R.sum(R.multiply(prompt, valid), axis=1, keepdims=True)
        context = R.divide(total, R.sum(valid, axis=1, keepdims=True))
        tokens = R.permute_dims(R.reshape(fpn_2, R.shape([b, 4, 4])), [0, 2, 1])
        return R.add(tokens, context)

    @R.function
    def detr_decoder(
        memory: R.Tensor(("b", 4, 4), "float32"),
        prompt: R.Tensor(("b", "p", 4), "float32"),
        mask: R.Tensor(("b", "p"), "bool"),
        weights: R.Tuple(R.Tensor((3, 4), "float32")),
    ):
        centre = R.mean(memory, axis=1, keepdims=True)
        queries = R.add(centre, weights[0])
        return (queries, R.sigmoid(queries), R.sum(centre, axis=-1))

    @R.function
    def scoring(
        queries: R.Tensor(("b", 3, 4), "float32"),
        prompt: R.Tensor(("b", "p", 4), "float32"),
        mask: R.Tensor(("b", "p"), "bool"),
    ):
        return R.sum(queries, axis=-1)

    @R.function
    def mask_decoder(
        queries: R.Tensor(("b", "k", 4), "float32"),
        fpn_0: R.Tensor(("b", 4, 8, 8), "float32"),
        fpn_1: R.Tensor(("b", 4, 4, 4), "float32"),
        fpn_2: R.Tensor(("b", 4, 2, 2), "float32"),
        memory: R.Tensor(("b", 4, 4), "float32"),
        prompt: R.Tensor(("b", "p", 4), "float32"),
        mask: R.Tensor(("b", "p"), "bool"),
    ):
        b, k = T.int64(), T.int64()
        flat = R.matmul(queries, R.reshape(fpn_0, R.shape([b, 4, 64])))
        masks = R.reshape(flat, R.shape([b, k, 8, 8]))
        return (masks, R.mean(masks, axis=1, keepdims=True))

    @R.function
    def resize_masks(
        masks: R.Tensor(("m", 8, 8), "float32"),
        size: R.Shape(["h", "w"]),
    ):
        h, w = T.int64(), T.int64()
        resized = R.image.resize2d(
            R.expand_dims(masks, 1),
            R.shape([h, w]),
            layout="NCHW",
            method="nearest_neighbor",
            coordinate_transformation_mode="asymmetric",
            rounding_method="floor",
        )
        return R.greater(R.squeeze(resized, [1]), R.const(0.0, "float32"))


def write(folder: Path) -> artifact.Artifact:
    """Compile the toy for this machine and write it as an artifact."""
    library = folder.with_suffix(".library.so")
    tvm.compile(ToyModule, "llvm").export_library(str(library))
    runtime = Path(tvm.__file__).parent / "lib"
    name = next(n for n in _RUNTIME_NAMES if (runtime / n).exists())
    with artifact.create(folder) as writer:
        shutil.move(library, writer.folder / artifact.MODEL)
        shutil.copyfile(runtime / name, writer.folder / name)
        toy.write_tokenizer(writer.folder / "tokenizer.json")
        for function, tensors in toy.weights().items():
            for key, tensor in tensors.items():
                writer.weights.add(key, tensor)
            writer.weights.function(function, list(tensors))
        versions = {n: metadata.version(n) for n in ("apache-tvm", "apache-tvm-ffi")}
        toy.describe(writer, runtime_libraries=(name,), versions=versions)
    return artifact.open(folder)


_RUNTIME_NAMES = ("libtvm_runtime.so", "libtvm_runtime.dylib", "tvm_runtime.dll")

if __name__ == "__main__":
    write(Path(sys.argv[1]))
