"""Held-out scenes on disk, in COCO's format and with prompts."""

from __future__ import annotations

import itertools
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco

from sam3_tvm.progress import Progress, silent
from training.samples import evaluation_prompts
from training.scenes import COLOURS, HELD_OUT, SHAPES, Scene, draw_scene

__all__ = ["STREAM", "write_dataset"]

# The first number of each scene's seed, so that no generator of training, which is seeded
# otherwise, gives these scenes.
STREAM = 0x5A3


def _annotation(scene: Scene, thing: int) -> dict[str, Any]:
    """A thing as COCO has it, without ids."""
    t = scene.things[thing]
    runs = coco.encode(np.asfortranarray(t.mask, np.uint8))
    x0, y0, x1, y1 = t.box
    return {
        "category_id": 1 + COLOURS.index(t.colour) * len(SHAPES) + SHAPES.index(t.shape),
        "segmentation": {"size": list(t.mask.shape), "counts": runs["counts"].decode("ascii")},
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "area": int(t.mask.sum()),
        "iscrowd": 0,
    }


def _fill(folder: Path, count: int, seed: int, size: int, progress: Progress) -> None:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    prompts: list[dict[str, Any]] = []
    for number in range(count):
        progress("draw scenes", number, count)
        # A generator for each scene: the first ones are the same, however many follow.
        rng = np.random.default_rng([STREAM, seed, number])
        scene = draw_scene(rng, size, held_out=True)
        image_id = number + 1
        name = f"{number:05d}.png"
        Image.fromarray(scene.image).save(folder / name)
        images.append({"id": image_id, "file_name": name, "width": size, "height": size})
        first = len(annotations) + 1
        for i in range(len(scene.things)):
            ids = {"id": first + i, "image_id": image_id}
            annotations.append(ids | _annotation(scene, i))
        for prompt in evaluation_prompts(scene, rng):
            targets = [scene.things[i] for i in prompt.targets]
            prompts.append(
                {
                    "id": len(prompts) + 1,
                    "image_id": image_id,
                    "text": prompt.text,
                    "boxes": [[round(float(v), 2) for v in box] for box in prompt.boxes],
                    "box_labels": prompt.labels.tolist(),
                    "annotation_ids": [first + int(i) for i in prompt.targets],
                    "kind": prompt.kind,
                    "held_out": any(t.kind in HELD_OUT for t in targets),
                }
            )
    categories = [
        {"id": i, "name": f"{colour} {shape}", "supercategory": shape}
        for i, (colour, shape) in enumerate(itertools.product(COLOURS, SHAPES), start=1)
    ]
    document = {
        "info": {"description": f"Drawn shapes, seed {seed}: python -m training draw"},
        "images": images,
        "annotations": annotations,
        "categories": categories,
        "prompts": prompts,
    }
    (folder / "annotations.json").write_text(json.dumps(document) + "\n", encoding="utf-8")
    progress("draw scenes", count, count)


def write_dataset(
    folder: Path | str, count: int, seed: int, size: int, progress: Progress = silent
) -> None:
    """Draw scenes that are not for training, and write them with prompts to a new folder.

    In the folder are ``00000.png`` and so on, and ``annotations.json``: COCO's ``images``,
    ``annotations`` (masks as run lengths, ``counts`` as text) and ``categories`` (colour and
    shape), and ``prompts``, each with ``id``, ``image_id``, ``text``, ``boxes`` (x0, y0, x1,
    y1 in pixels), ``box_labels`` (1 positive, 0 negative), ``annotation_ids`` (what it asks
    for; empty if that is absent), ``kind`` (one of ``training.samples.KINDS``) and
    ``held_out`` (whether it asks for a kind that training never saw). About a tenth of the
    things are of such kinds. A prompt of a box alone asks for all things of the boxed thing's
    colour and shape.

    Args:
        folder: where to; it must not exist yet or be empty.
        count: number of scenes, 1 at least.
        seed: 0 at least; equal seeds give equal scenes.
        size: the pictures' side in pixels.
        progress: told of every scene.

    Raises:
        ValueError: no scene to draw, a negative seed, or a size that ``draw_scene`` refuses.
        FileExistsError: the folder has something in it, or is a file.
    """
    if count < 1:
        raise ValueError(f"a dataset has 1 scene at least, not {count}")
    if seed < 0:
        raise ValueError(f"a seed is 0 or more, not {seed}")
    final = Path(folder)
    if final.exists() and (not final.is_dir() or any(final.iterdir())):
        raise FileExistsError(f"{final} exists; name a new folder")
    final.parent.mkdir(parents=True, exist_ok=True)
    # Within a folder of its own, since that is open to its owner only.
    temporary = Path(tempfile.mkdtemp(prefix=f".{final.name}-", dir=final.parent))
    try:
        filled = temporary / final.name
        filled.mkdir()
        _fill(filled, count, seed, size, progress)
        filled.replace(final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
