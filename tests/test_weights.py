"""The file of an artifact's weights, and its index."""

from __future__ import annotations

import errno
import json
import mmap
import os

import numpy as np
import pytest

from sam3_tvm.errors import ArtifactError
from sam3_tvm.weights import WeightsWriter, open_weights


def write(folder, tensors):
    writer = WeightsWriter(folder)
    for key, tensor in tensors.items():
        writer.add(key, tensor)
    writer.function("f", list(tensors))
    writer.close()
    return open_weights(folder)


def test_every_dtype_and_shape_survives(tmp_path):
    rng = np.random.default_rng(0)
    tensors = {
        f"{dtype}.{shape}": (
            rng.integers(0, 2, shape) if dtype == "bool" else rng.integers(0, 100, shape)
        ).astype(dtype)
        for dtype in ("float32", "float16", "int64", "int8", "uint8", "bool")
        for shape in ((), (0, 3), (5,), (2, 3, 7))
    }
    tensors["transposed"] = rng.standard_normal((4, 6)).T
    tensors["transposed"] = tensors["transposed"].astype("float32")
    tensors["big endian"] = np.arange(5, dtype=">i4")
    stored = write(tmp_path, tensors)
    assert list(stored) == list(tensors)
    for key, tensor in tensors.items():
        assert stored[key].shape == tensor.shape
        assert stored[key].dtype == tensor.dtype.newbyteorder("=")
        np.testing.assert_array_equal(stored[key], tensor)


def test_tensors_are_aligned_read_only_and_mapped(tmp_path):
    stored = write(tmp_path, {f"{n}": np.full(n, n, np.float32) for n in range(1, 40)})
    for tensor in stored.function("f"):
        assert tensor.ctypes.data % 64 == 0
        assert not tensor.flags.writeable
        assert not tensor.flags.owndata


def test_equal_tensors_are_stored_once(tmp_path):
    same = np.arange(1000, dtype=np.float32)
    stored = write(tmp_path, {"a": same, "b": same.reshape(10, 100).copy(), "c": same + 1})
    assert (tmp_path / "weights.bin").stat().st_size == 4032 + 4000
    assert stored["a"].ctypes.data == stored["b"].ctypes.data
    assert stored["b"].shape == (10, 100)


def test_no_weights_at_all_are_fine(tmp_path):
    assert len(write(tmp_path, {})) == 0


def test_misuse_is_refused(tmp_path):
    writer = WeightsWriter(tmp_path)
    writer.add("a", np.zeros(2, np.float32))
    with pytest.raises(ArtifactError, match="already stored"):
        writer.add("a", np.zeros(2, np.float32))
    with pytest.raises(ArtifactError, match="'b' is complex64; weights are float32"):
        writer.add("b", np.zeros(2, np.complex64))
    with pytest.raises(ArtifactError, match="not stored"):
        writer.function("f", ["a", "c"])
    writer.function("f", ["a"])
    with pytest.raises(ArtifactError, match="already given"):
        writer.function("f", ["a"])
    writer.close()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"offset": 64}, "does not fit"),
        ({"offset": 4}, "does not fit"),
        ({"offset": -64}, r"tensors\.a has a shape, offset or length below 0"),
        ({"offset": 0.0}, r"tensors\.a\.offset must be an integer, got 0\.0"),
        ({"shape": [True]}, r"tensors\.a\.shape\[0\] must be an integer, got True"),
        ({"shape": [1] * 40}, "has 40 axes, more than 32"),
        ({"shape": [1 << 62, 0, 1 << 62]}, "does not fit"),
        ({"more": 1}, r"tensors\.a has unknown entries: more"),
        ({"shape": [3]}, "does not fit"),
        ({"dtype": "object"}, "which is none of"),
    ],
)
def test_an_index_that_points_elsewhere_is_refused(tmp_path, change, says):
    write(tmp_path, {"a": np.zeros(4, np.float32)})
    index = json.loads((tmp_path / "weights.json").read_text())
    index["tensors"]["a"].update(change)
    (tmp_path / "weights.json").write_text(json.dumps(index))
    with pytest.raises(ArtifactError, match=says):
        open_weights(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", '{"tensors": {}}', '{"tensors": [], "functions": {}}'])
def test_a_broken_index_is_refused(tmp_path, text):
    write(tmp_path, {})
    (tmp_path / "weights.json").write_text(text)
    with pytest.raises(ArtifactError, match=r"weights\.json"):
        open_weights(tmp_path)


@pytest.mark.parametrize(
    ("number", "raised", "said"),
    [
        (errno.ENOMEM, MemoryError, r"for .*weights\.bin$"),
        (errno.ENODEV, ArtifactError, r"weights\.bin: No such device; compile it again"),
    ],
)
def test_data_that_cannot_be_mapped_is_named(tmp_path, monkeypatch, number, raised, said):
    write(tmp_path, {"a": np.zeros(3, np.float32)})

    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))  # as mmap does, of no file

    monkeypatch.setattr(mmap, "mmap", refuse)
    with pytest.raises(raised, match=said):
        open_weights(tmp_path)
