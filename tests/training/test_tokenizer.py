from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer

from sam3_tvm.runtime.concepts.tokenizer import Tokenizer as RuntimeTokenizer
from training.phrases import all_phrases
from training.tokenizer import END, START, train_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer()


def test_words_of_the_grammar_are_single_tokens(tokenizer: Tokenizer) -> None:
    words = {w for phrase in all_phrases() for w in phrase.replace("-", " - ").split()}
    assert {w: len(tokenizer.encode(w).ids) for w in words} == dict.fromkeys(words, 3)


def test_every_phrase_fits_the_text_encoder(tokenizer: Tokenizer) -> None:
    encoded = tokenizer.encode_batch(list(all_phrases()))
    assert max(len(e.ids) for e in encoded) <= 16
    # No two phrases look the same to a model.
    assert len({tuple(e.ids) for e in encoded}) == len(encoded)


def test_the_start_and_the_end_of_text_are_the_last_ids(tokenizer: Tokenizer) -> None:
    size = tokenizer.get_vocab_size()
    assert sorted(tokenizer.get_vocab().values()) == list(range(size))
    assert tokenizer.encode("").ids == [size - 2, size - 1]
    assert [tokenizer.id_to_token(i) for i in (size - 2, size - 1)] == [START, END]


def test_case_and_white_space_do_not_matter(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode(" A  Red\tCIRCLE\n").ids == tokenizer.encode("a red circle").ids


@pytest.mark.parametrize("text", ["zebra's 42 legs?!", "größe", "日本の丸", "😀", "a\x00b", "ÀÉÎ"])
def test_any_text_is_encoded_without_loss(tokenizer: Tokenizer, text: str) -> None:
    decoded = tokenizer.decode(tokenizer.encode(text).ids)
    assert decoded.replace(" ", "") == text.lower().replace(" ", "")


def test_every_byte_that_text_can_have_has_a_token() -> None:
    # The smallest vocabulary has these alone; a text with all of Unicode's first planes
    # (but for surrogates and upper case) comes back whole.
    small = train_tokenizer(400)
    text = "".join(chr(c) for c in range(0x21, 0xD800, 7)) + "\U0001f600\U0010ffff"
    assert small.decode(small.encode(text).ids).replace(" ", "") == "".join(
        small.normalizer.normalize_str(text).split()
    )


def test_training_gives_the_same_each_time(tokenizer: Tokenizer) -> None:
    assert train_tokenizer().to_str() == tokenizer.to_str()


def test_a_smaller_vocabulary_has_more_tokens_per_phrase(tokenizer: Tokenizer) -> None:
    small = train_tokenizer(450)
    assert small.get_vocab_size() == 450
    phrase = "medium violet hexagons"
    assert len(small.encode(phrase).ids) > len(tokenizer.encode(phrase).ids)


def test_a_vocabulary_without_room_for_bytes_is_refused() -> None:
    with pytest.raises(ValueError, match="ids at least, not 300"):
        train_tokenizer(300)


def test_the_runtime_reads_it(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    end = tokenizer.get_vocab_size() - 1
    ids, mask = RuntimeTokenizer(tmp_path / "tokenizer.json", 32, end)(["red circle"])
    expected = tokenizer.encode("red circle").ids
    assert ids[0].tolist() == expected + [end] * (32 - len(expected))
    assert mask.sum() == len(expected)
