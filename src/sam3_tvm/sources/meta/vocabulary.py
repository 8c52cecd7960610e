"""CLIP's tokenizer for Meta's checkpoint, which comes without one.

Meta's ``SimpleTokenizer`` reads CLIP's list of merges, cleans phrases and cuts them into words by
a pattern, then merges bytes. The same rules are put here into the ``tokenizers`` library's terms,
so that the runtime needs nothing of it.
"""

from __future__ import annotations

import gzip
import importlib.util
import zlib
from pathlib import Path

from tokenizers import (
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)

from sam3_tvm.sources.base import SourceError
from sam3_tvm.sources.huggingface.files import read_tokenizer

__all__ = ["MERGES", "find_tokenizer", "installed_merges", "read_merges", "tokenizer_of_merges"]

MERGES = "bpe_simple_vocab_16e6.txt.gz"
"""CLIP's list of merges, as every package that has it calls it."""

_VOCABULARY = 49408
START, END = "<|startoftext|>", "<|endoftext|>"

# What ftfy makes of a phrase before it is cut into words, as far as single characters go. What it
# does about text that was decoded wrongly is left out.
_DIGRAPHS = ("LJ", "Lj", "lj", "NJ", "Nj", "nj")
_PLAIN = {
    **dict.fromkeys("\u2018\u2019\u201a\u201b\u02bc", "'"),
    **dict.fromkeys("\u201c\u201d\u201e\u201f", '"'),
    **{"\ufb00": "ff", "\ufb01": "fi", "\ufb02": "fl", "\ufb03": "ffi", "\ufb04": "ffl"},
    **{"\ufb05": "\u017ft", "\ufb06": "st", "\u0132": "IJ", "\u0133": "ij", "\u0149": "'n"},
    **dict(zip("\u01c4\u01c5\u01c6", ("D\u017d", "D\u017e", "d\u017e"), strict=True)),
    **dict(zip("\u01c7\u01c8\u01c9\u01ca\u01cb\u01cc", _DIGRAPHS, strict=True)),
    **{"\u01f1": "DZ", "\u01f2": "Dz", "\u01f3": "dz"},
    **{chr(0xFEE0 + code): chr(code) for code in range(0x21, 0x7F)},  # of full width
    "\u3000": " ",
}
_ENTITIES = {
    "&amp;": "&",
    "&lt;": "<",
    "&gt;": ">",
    "&quot;": '"',
    "&#39;": "'",
    "&apos;": "'",
    "&nbsp;": " ",
}
# Control characters, joiners of direction and the byte order mark, which ftfy removes.
_UNSEEN = r"[\x00-\x08\x0b\x0e-\x1f\x7f\u206a-\u206f\ufeff\ufff9-\ufffc]"
_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def tokenizer_of_merges(merges: list[tuple[str, str]]) -> Tokenizer:
    """CLIP's tokenizer of some merges: byte pairs within words, in lower case.

    Args:
        merges: pairs of parts, the most frequent first.

    Returns:
        A tokenizer whose ids are bytes, bytes that end words, merges, start and end of text.
    """
    alphabet = _byte_alphabet()
    parts = [*alphabet, *(f"{c}</w>" for c in alphabet), *("".join(pair) for pair in merges)]
    vocabulary = {part: i for i, part in enumerate([*parts, START, END])}
    start, end = vocabulary[START], vocabulary[END]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Sequence(
        [
            # Twice, as Meta does it.
            *(normalizers.Replace(old, new) for _ in (1, 2) for old, new in _ENTITIES.items()),
            *(normalizers.Replace(old, new) for old, new in _PLAIN.items()),
            normalizers.Replace(Regex(_UNSEEN), ""),
            normalizers.NFC(),
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Strip(),
            # The one letter whose lower case depends on where it stands.
            normalizers.Replace(Regex(r"(?<=\p{L})\u03a3(?!\p{L})"), "\u03c2"),
            normalizers.Lowercase(),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(START, start), (END, end)]
    )
    # Start and end aren't added as special tokens: in a phrase, their names are words like others.
    return tokenizer


def _byte_alphabet() -> list[str]:
    """The characters that stand for bytes, in CLIP's order: printable ones, then the others."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = 256 - len(printable)
    return [*map(chr, printable), *(chr(256 + n) for n in range(others))]


def read_merges(path: Path) -> list[tuple[str, str]]:
    """CLIP's 48,894 merges from its list.

    Raises:
        SourceError: a file that can't be read or is another list.
    """
    try:
        lines = gzip.decompress(path.read_bytes()).decode("utf-8").split("\n")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise SourceError(f"{path}: is no list of merges ({error}); copy it again") from error
    # The first line is a title, and the file has more merges than CLIP uses.
    pairs = [tuple(line.split()) for line in lines[1 : _VOCABULARY - 2 * 256 - 2 + 1]]
    if len(pairs) != _VOCABULARY - 2 * 256 - 2 or any(len(pair) != 2 for pair in pairs):
        raise SourceError(f"{path}: is not CLIP's list of merges, which has 48,894 pairs and more")
    return [(a, b) for a, b in pairs]


def find_tokenizer(folder: Path) -> str:
    """The tokenizer for a checkpoint in ``folder``, as JSON text.

    It is the first of: ``tokenizer.json`` there, CLIP's merges there, and those of an installed
    ``sam3`` or ``open_clip``.

    Raises:
        SourceError: none of them is there, or the one found can't be read.
    """
    path = folder / "tokenizer.json"
    if path.is_file():
        return read_tokenizer(path)
    for place in (folder / MERGES, *installed_merges()):
        if place.is_file():
            return tokenizer_of_merges(read_merges(place)).to_str()
    raise SourceError(
        f"no tokenizer for the checkpoint in {folder}: put tokenizer.json (of facebook/sam3 or any "
        f"CLIP) or {MERGES} (of Meta's or OpenAI's repository) there, or "
        "pip install open_clip_torch"
    )


def installed_merges() -> list[Path]:
    """Where installed packages have CLIP's list of merges, or would have it."""
    places = []
    for package, below in (("sam3", "../assets"), ("sam3", "assets"), ("open_clip", ".")):
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.origin is not None:
            places.append((Path(spec.origin).parent / below / MERGES).resolve())
    return places
