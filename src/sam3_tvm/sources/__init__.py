"""Where SAM 3 comes from. A source hands out the ABI's components as torch modules."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from tokenizers import Tokenizer

from sam3_tvm.sizes import TASKS
from sam3_tvm.sources.base import Source, SourceError

__all__ = ["Source", "SourceError", "open_source"]


def open_source(
    checkpoint: str, tasks: Sequence[str] | None = None, image_size: int | None = None
) -> Source:
    """Open a checkpoint.

    Args:
        checkpoint: a folder in Hugging Face's layout, a hub id such as ``facebook/sam3``, or
            ``random:sam3`` / ``random:tiny``, optionally with a seed (``random:tiny:7``); or,
            for which Meta's ``sam3`` package is needed, its own file (``sam3.pt``, or a folder
            that holds it) or ``random:meta`` / ``random:meta-tiny``.
        tasks: what is wanted of it, of :data:`sam3_tvm.sizes.TASKS`, ``"concepts"`` among
            them; None for all that it has weights for.
        image_size: side of the model's square picture, pixels; None for the one that the
            checkpoint was made for.

    Raises:
        SourceError: nothing of that name, something that isn't a SAM 3 checkpoint, or a task that
            it has no weights for.
        ImageSizeError: a size that its vision encoder can't be given.
    """
    _check_tasks(tasks)
    # Both tasks of the tracker come from one, which takes a while to read.
    tracked = tasks is None or not {"clicks", "video"}.isdisjoint(tasks)
    source = _open(checkpoint, tracked, image_size)
    last = max(Tokenizer.from_str(source.tokenizer_json()).get_vocab().values())
    if last >= source.vocabulary_size():
        raise SourceError(
            f"{checkpoint}: its tokenizer gives ids up to {last}, and its text encoder has "
            f"{source.vocabulary_size()} of them; put the tokenizer.json that belongs to the "
            "weights beside them"
        )
    if tasks is None:
        return source
    for task in tasks:
        if task not in source.sizes.tasks:
            raise SourceError(
                f"{checkpoint} has no weights for {task}; it serves {', '.join(source.sizes.tasks)}"
            )
    if "video" not in tasks:
        source.sizes = replace(source.sizes, video=None)
        source.video = source.video_concepts = None
    if "clicks" not in tasks:
        source.sizes, source.clicks = replace(source.sizes, clicks=None), None
    return source


def _check_tasks(tasks: Collection[str] | None) -> None:
    if tasks is None:
        return
    if unknown := [task for task in tasks if task not in TASKS]:
        raise SourceError(f"no task is named {unknown[0]!r}; there are {', '.join(TASKS)}")
    if "concepts" not in tasks:
        raise SourceError("tasks must have concepts among them; clicks can be left out")
    if "video" in tasks and "clicks" not in tasks:
        raise SourceError("video takes clicks, too: name concepts,clicks,video")


def _open(checkpoint: str, tracked: bool, image_size: int | None) -> Source:
    if checkpoint.startswith("random:meta"):
        from sam3_tvm.sources.meta import MetaSource

        return MetaSource.random(checkpoint, tracked, image_size)
    from sam3_tvm.sources.meta.checkpoint import checkpoint_file

    file = None if checkpoint.startswith("random:") else checkpoint_file(checkpoint)
    if file is not None:
        from sam3_tvm.sources.meta import MetaSource

        return MetaSource.open(file, tracked, image_size)
    from sam3_tvm.sources.huggingface.source import TransformersSource

    return TransformersSource.open(checkpoint, tracked, image_size)
