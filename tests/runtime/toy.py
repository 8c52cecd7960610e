"""A toy SAM 3: the eight functions of the ABI with arithmetic that one can follow by hand.

:class:`ToyFunctions` computes them with NumPy, for tests of what calls them; the same functions
compiled by TVM are in ``toy_relax.py``, for tests of how they are called.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer as HubTokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

from sam3_tvm import artifact
from sam3_tvm.abi import BATCH, abi
from sam3_tvm.components import TensorSpec
from sam3_tvm.locks import Worker
from sam3_tvm.runtime.concepts.tokenizer import Tokenizer
from sam3_tvm.runtime.execution.functions import FunctionTable
from sam3_tvm.runtime.model import Model
from sam3_tvm.sizes import ClickSizes, Sizes

HERE = Path(__file__).parent

SIZES = Sizes(image=16, grid=2, hidden=4, text_tokens=6, queries=3, heads=1)
COMPONENTS = abi(SIZES)

_TOKENS = TensorSpec("kept_0", "float32", (BATCH, 4, 4))
_PIXELS = TensorSpec("kept_0", "float32", (BATCH, 4, 64))

# How the toy could be compiled in halves; geometry_encoder stays whole.
STAGES = {
    "detr_encoder": artifact.Stages(
        "detr_encoder_image",
        ("fpn_2",),
        (_TOKENS,),
        "detr_encoder_prompt",
        ("prompt", "prompt_mask"),
    ),
    "mask_decoder": artifact.Stages(
        "mask_decoder_image",
        ("fpn_0",),
        (_PIXELS,),
        "mask_decoder_prompt",
        ("queries", "fpn_1", "memory", "prompt", "prompt_mask"),
    ),
}

WORDS = ["<pad>", "<s>", "</s>", "?", "visual", "dog", "cat", "ball", "red", "nothing"]
PAD, START, END, UNKNOWN = 0, 1, 2, 3


def weights() -> dict[str, dict[str, np.ndarray]]:
    """The toy's weights by function, in calling order."""
    rng = np.random.default_rng(3)
    return {
        "vision_encoder": {"vision.project": rng.standard_normal((4, 3, 1, 1)).astype(np.float32)},
        "text_encoder": {"text.embed": np.array([0.1, -0.05, 0.08, 0.02], np.float32)},
        "detr_decoder": {"decoder.queries": rng.standard_normal((3, 4)).astype(np.float32)},
    }


def _pool(x: np.ndarray) -> np.ndarray:
    b, c, h, w = x.shape
    return x.reshape(b, c, h // 2, 2, w // 2, 2).mean((3, 5))


class ToyFunctions:
    """Invokes the toy's functions with NumPy, counts the calls and refuses to be re-entered."""

    def __init__(self, delay: float = 0.0) -> None:
        self.calls: Counter[str] = Counter()
        self.batches: list[tuple[str, int]] = []
        self._weights = weights()
        self._delay = delay
        self._busy = threading.Lock()

    def __call__(self, name, inputs):
        if not self._busy.acquire(blocking=False):
            raise RuntimeError("the functions were entered twice at once")
        try:
            time.sleep(self._delay)
            self.calls[name] += 1
            self.batches.append((name, len(inputs[0])))
            outputs = getattr(self, name)(*inputs, *self._weights.get(name, {}).values())
        finally:
            self._busy.release()
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        return [np.ascontiguousarray(o) for o in outputs]

    @staticmethod
    def vision_encoder(pixels, project):
        fpn_0 = np.einsum("dc,bchw->bdhw", project[:, :, 0, 0], _pool(pixels))
        return fpn_0, _pool(fpn_0), _pool(_pool(fpn_0))

    @staticmethod
    def text_encoder(ids, mask, embed):
        return (ids * mask)[:, :, None].astype(np.float32) * embed

    @staticmethod
    def geometry_encoder(boxes, labels, mask, fpn_2):
        cls = fpn_2.mean((2, 3))[:, None]
        signed = boxes * (2 * labels - 1)[:, :, None].astype(np.float32)
        first = np.ones((len(mask), 1), bool)
        return np.concatenate([cls, signed], 1), np.concatenate([first, mask], 1)

    @staticmethod
    def detr_encoder(fpn_2, prompt, mask):
        valid = mask[:, :, None].astype(np.float32)
        context = (prompt * valid).sum(1, keepdims=True) / valid.sum(1, keepdims=True)
        tokens = fpn_2.reshape(len(fpn_2), 4, 4).transpose(0, 2, 1)
        return tokens + context

    @staticmethod
    def detr_encoder_image(fpn_2):
        return fpn_2.reshape(len(fpn_2), 4, 4).transpose(0, 2, 1)

    @staticmethod
    def detr_encoder_prompt(kept, prompt, mask):
        valid = mask[:, :, None].astype(np.float32)
        return kept + (prompt * valid).sum(1, keepdims=True) / valid.sum(1, keepdims=True)

    @staticmethod
    def detr_decoder(memory, prompt, mask, embedded):
        centre = memory.mean(1, keepdims=True)
        queries = centre + embedded[None]
        return queries, 1 / (1 + np.exp(-queries)), centre.sum(-1)

    @staticmethod
    def scoring(queries, prompt, mask):
        return queries.sum(-1)

    @staticmethod
    def mask_decoder(queries, fpn_0, fpn_1, fpn_2, memory, prompt, mask):
        b, k, _ = queries.shape
        masks = (queries @ fpn_0.reshape(b, 4, 64)).reshape(b, k, 8, 8)
        return masks, masks.mean(1, keepdims=True)

    @staticmethod
    def mask_decoder_image(fpn_0):
        return fpn_0.reshape(len(fpn_0), 4, 64)

    @staticmethod
    def mask_decoder_prompt(kept, queries, fpn_1, memory, prompt, mask):
        b, k, _ = queries.shape
        masks = (queries @ kept).reshape(b, k, 8, 8)
        return masks, masks.mean(1, keepdims=True)

    @staticmethod
    def resize_masks(masks, size):
        rows = np.arange(size[0]) * 8 // size[0]
        columns = np.arange(size[1]) * 8 // size[1]
        return masks[:, rows][:, :, columns] > 0


class ToyPointFunctions(ToyFunctions):
    """The toy, whose geometry takes points as well."""

    @staticmethod
    def geometry_encoder(boxes, labels, mask, points, point_labels, point_mask, fpn_2):
        as_boxes = np.concatenate([points, points], -1)
        return ToyFunctions.geometry_encoder(
            np.concatenate([boxes, as_boxes], 1),
            np.concatenate([labels, point_labels], 1),
            np.concatenate([mask, point_mask], 1),
            fpn_2,
        )


def with_points(manifest: artifact.Manifest) -> artifact.Manifest:
    """The manifest of a toy that takes points."""
    sizes = replace(manifest.sizes, points=True)
    return replace(manifest, sizes=sizes, components=abi(sizes))


class ToyClickFunctions(ToyFunctions):
    """The toy with functions for clicks, whose masks are discs around the points of label 1.

    ``clicked`` has the inputs of every call of ``prompt_encoder``.
    """

    iou = (0.5, 0.6, 0.9, 0.7)

    def __init__(self, delay: float = 0.0) -> None:
        super().__init__(delay)
        self.clicked: list[tuple[np.ndarray, ...]] = []

    @staticmethod
    def vision_encoder(pixels, project):
        features = ToyFunctions.vision_encoder(pixels, project)
        return *features, np.repeat(features[2].reshape(len(pixels), 4, 4), 2, 2)

    @staticmethod
    def tracker_neck(backbone):
        b = len(backbone)
        fine, middle = np.zeros((b, 0, 8, 8), np.float32), np.zeros((b, 1, 4, 4), np.float32)
        return fine, middle, backbone[:, :, :4].reshape(b, 4, 2, 2)

    def prompt_encoder(self, clicks, labels, masks, given):
        self.clicked.append((clicks, labels, masks, given))
        sparse = np.zeros((len(clicks), clicks.shape[1] + 1, 4), np.float32)
        sparse[:, :-1] = np.concatenate([clicks, clicks * 0 + labels[..., None]], -1)
        sparse[:, -1, 2:] = -1
        dense = np.zeros((len(clicks), 4, 2, 2), np.float32)
        return sparse, dense + masks.mean((1, 2, 3))[:, None, None, None]

    @classmethod
    def click_decoder(cls, fine, middle, coarse, sparse, dense):
        middles = (np.arange(8) + 0.5) / 8
        far = np.full((len(sparse), 8, 8), 1, np.float32)
        for row, tokens in enumerate(sparse):
            for x, y, label, _ in tokens:
                if label == 1:
                    disc = np.hypot(middles[None] - x, middles[:, None] - y)
                    far[row] = np.minimum(far[row], disc)
        radii = np.array([0.05, 0.2, 0.3, 0.4], np.float32)
        masks = radii[None, :, None, None] - far[:, None] + dense[:, :1, :1, :1]
        iou = np.tile(np.array(cls.iou, np.float32), (len(sparse), 1))
        return masks, iou, coarse.mean((1, 2, 3))[:, None]

    resize_click_masks = staticmethod(ToyFunctions.resize_masks)


def with_clicks(manifest: artifact.Manifest) -> artifact.Manifest:
    """The manifest of a toy that is for clicks, too."""
    sizes = replace(manifest.sizes, clicks=ClickSizes(backbone=8, masks=4))
    rules = artifact.ClickRules(stability_delta=0.05, stability_threshold=0.9)
    return replace(manifest, sizes=sizes, components=abi(sizes), clicks=rules)


def write_tokenizer(path: Path) -> None:
    """A tokenizer.json of whole words that frames a phrase like CLIP's: start, words, end."""
    hub = HubTokenizer(WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="?"))
    hub.pre_tokenizer = Whitespace()
    hub.post_processor = TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", START), ("</s>", END)]
    )
    hub.save(str(path))


def describe(writer: artifact.ArtifactWriter, **changes) -> artifact.Manifest:
    """The manifest of a toy artifact for this machine, with some entries changed."""
    values = {
        "source": artifact.Source(
            "transformers",
            "random:toy",
            artifact.ReferenceRules(False, "probabilities", "visual", 0.3),
        ),
        "target": host_target(),
        "sizes": SIZES,
        "components": COMPONENTS,
        "preprocessing": artifact.Preprocessing(16, (0.5,) * 3, (0.5,) * 3, 1 / 255),
        "tokenizer": artifact.TokenizerRules("tokenizer.json", PAD),
        "licence": artifact.Licence(None, None),
        "versions": {"apache-tvm": "0.27.0.post1", "apache-tvm-ffi": "0.1.14.post1"},
        "runtime_libraries": (),
    }
    return writer.describe(**{**values, **changes})


def host_target() -> artifact.Target:
    """A target that is this machine, whatever it is."""
    import platform

    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(
        platform.machine().lower(), platform.machine().lower()
    )
    system = {"Darwin": "apple-darwin", "Windows": "pc-windows-msvc"}.get(
        platform.system(), "unknown-linux-gnu"
    )
    return artifact.Target("llvm", "this machine", "generic", f"{machine}-{system}", ())


def write_artifact(path: Path, model: bytes = b"no code", **changes) -> artifact.Artifact:
    """A toy artifact; its model is not loadable unless ``model`` is a compiled library."""
    with artifact.create(path) as writer:
        (writer.folder / artifact.MODEL).write_bytes(model)
        write_tokenizer(writer.folder / "tokenizer.json")
        for function, tensors in weights().items():
            for key, tensor in tensors.items():
                writer.weights.add(key, tensor)
            writer.weights.function(function, list(tensors))
        describe(writer, **changes)
    return artifact.open(path)


def make_model(opened: artifact.Artifact, functions: ToyFunctions, manifest=None) -> Model:
    """A model with the artifact's manifest, or another, and functions that NumPy computes."""
    manifest = manifest or opened.manifest
    tokenizer = Tokenizer(opened.path / "tokenizer.json", SIZES.text_tokens, PAD)
    worker = Worker("toy")  # calls queue up for it, as for an engine

    def invoke(name, inputs):
        return worker.run(lambda: functions(name, inputs))

    table = FunctionTable(manifest.components, invoke, manifest.stages)
    return Model(table, tokenizer, manifest, opened.fingerprint)


def run_python(*arguments: str, env: dict[str, str] | None = None) -> str:
    """What a fresh interpreter prints; its errors are this test's."""
    done = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
