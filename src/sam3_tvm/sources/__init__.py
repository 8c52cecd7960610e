"""Where SAM 3 comes from. A source hands out the ABI's components as torch modules."""

from __future__ import annotations

from tokenizers import Tokenizer

from sam3_tvm.sources.base import Source, SourceError

__all__ = ["Source", "SourceError", "open_source"]


def open_source(checkpoint: str) -> Source:
    """Open a checkpoint.

    Args:
        checkpoint: a folder in Hugging Face's layout, a hub id such as ``facebook/sam3``, or
            ``random:sam3`` / ``random:tiny``, optionally with a seed (``random:tiny:7``); or,
            for which Meta's ``sam3`` package is needed, its own file (``sam3.pt``, or a folder
            that holds it) or ``random:meta`` / ``random:meta-tiny``.

    Raises:
        SourceError: nothing of that name, or something that isn't a SAM 3 checkpoint.
    """
    source = _open(checkpoint)
    last = max(Tokenizer.from_str(source.tokenizer_json()).get_vocab().values())
    if last >= source.vocabulary_size():
        raise SourceError(
            f"{checkpoint}: its tokenizer gives ids up to {last}, and its text encoder has "
            f"{source.vocabulary_size()} of them; put the tokenizer.json that belongs to the "
            "weights beside them"
        )
    return source


def _open(checkpoint: str) -> Source:
    if checkpoint.startswith("random:meta"):
        from sam3_tvm.sources.meta import MetaSource

        return MetaSource.random(checkpoint)
    from sam3_tvm.sources.meta.checkpoint import checkpoint_file

    file = None if checkpoint.startswith("random:") else checkpoint_file(checkpoint)
    if file is not None:
        from sam3_tvm.sources.meta import MetaSource

        return MetaSource.open(file)
    from sam3_tvm.sources.transformers import TransformersSource

    return TransformersSource.open(checkpoint)
