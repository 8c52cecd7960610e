"""A small CLIP-style tokenizer, trained on the phrases of the grammar."""

from __future__ import annotations

import json

from tokenizers import (
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from training.phrases import all_phrases

__all__ = ["train_tokenizer"]

START, END, SUFFIX = "<|startoftext|>", "<|endoftext|>", "</w>"

# What CLIP takes for a word: letters, one digit, or other signs; the last part keeps
# English contractions together.
_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def _byte_characters() -> dict[int, str]:
    """The character that stands for each byte in byte-level BPE (from GPT-2).

    Printable characters stand for themselves, the others for those from 256 on.
    """
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in plain]
    return {b: chr(b) for b in plain} | {b: chr(256 + i) for i, b in enumerate(others)}


def _alphabet() -> list[str]:
    """One token for each byte that lower-case UTF-8 has within a word and at its end."""
    characters = _byte_characters()
    never = {*range(0x41, 0x5B), 0xC0, 0xC1, *range(0xF5, 0x100)}
    within = [characters[b] for b in range(256) if b not in never]
    # A word doesn't end within a character.
    last = [characters[b] + SUFFIX for b in range(0xC0) if b not in never]
    return within + last


def train_tokenizer(vocabulary: int = 640) -> Tokenizer:
    """Train byte-pair encoding as CLIP has it.

    Text is lower-cased and split into words; a word's last token ends in ``</w>``; ids of
    any text begin with ``<|startoftext|>`` and end with ``<|endoftext|>``, the last two of
    the vocabulary. Any text can be encoded, words that no phrase has in several tokens.
    Training is deterministic.

    Args:
        vocabulary: number of ids. With fewer than the words of the grammar need, the rarer
            words take several tokens; with more, the vocabulary stays smaller than this.

    Raises:
        ValueError: fewer ids than single bytes need.
    """
    alphabet = _alphabet()
    room = vocabulary - len(alphabet) - 2
    if room < 0:
        raise ValueError(f"a vocabulary has {len(alphabet) + 2} ids at least, not {vocabulary}")
    normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    learner = Tokenizer(models.BPE(end_of_word_suffix=SUFFIX))
    learner.normalizer, learner.pre_tokenizer = normalizer, pre_tokenizer
    # The trainer prefers lower ids where pairs are equally frequent, and numbers the last
    # characters of words in no fixed order, unless it is told all of the alphabet.
    trainer = trainers.BpeTrainer(
        vocab_size=len(alphabet) + room,
        special_tokens=alphabet,
        end_of_word_suffix=SUFFIX,
        show_progress=False,
    )
    learner.train_from_iterator(all_phrases(), trainer)
    learned = json.loads(learner.to_str())["model"]["merges"]
    merges = [(str(left), str(right)) for left, right in learned[:room]]
    tokens = alphabet + [left.removesuffix(SUFFIX) + right for left, right in merges]
    tokens = list(dict.fromkeys(tokens))
    vocab = {token: i for i, token in enumerate([*tokens, START, END])}
    tokenizer = Tokenizer(models.BPE(vocab, merges, end_of_word_suffix=SUFFIX))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, pre_tokenizer
    tokenizer.decoder = decoders.Sequence(
        [decoders.ByteLevel(), decoders.Replace(SUFFIX, " "), decoders.Strip(" ", 0, 1)]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}",
        special_tokens=[(START, vocab[START]), (END, vocab[END])],
    )
    tokenizer.add_special_tokens([START, END])
    return tokenizer
