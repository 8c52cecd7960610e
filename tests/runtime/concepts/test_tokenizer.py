from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import toy

from sam3_tvm import tokenizer_file
from sam3_tvm.errors import ArtifactError
from sam3_tvm.runtime.concepts.tokenizer import Tokenizer


@pytest.fixture
def tokenizer(tmp_path) -> Tokenizer:
    toy.write_tokenizer(tmp_path / "tokenizer.json")
    return Tokenizer(tmp_path / "tokenizer.json", 6, toy.PAD)


def test_phrases_are_framed_and_padded(tokenizer):
    ids, mask = tokenizer(["dog", "red ball"])
    dog, red, ball = (toy.WORDS.index(w) for w in ("dog", "red", "ball"))
    assert ids.tolist() == [[1, dog, 2, 0, 0, 0], [1, red, ball, 2, 0, 0]]
    assert mask.tolist() == [[1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 0, 0]]
    assert ids.dtype == mask.dtype == np.int64


def test_a_long_phrase_keeps_the_token_that_ends_it(tokenizer):
    ids, mask = tokenizer(["dog cat ball red dog cat ball red"])
    assert ids.shape == (1, 6)
    assert ids[0, 0] == toy.START
    assert ids[0, -1] == toy.END
    assert mask.all()


def test_padding_may_be_masked_within_a_phrase_as_meta_does(tmp_path):
    toy.write_tokenizer(tmp_path / "t.json")
    cat = toy.WORDS.index("cat")
    by_length = Tokenizer(tmp_path / "t.json", 6, cat)
    by_id = Tokenizer(tmp_path / "t.json", 6, cat, mask_by_id=True)
    ids, mask = by_length(["dog cat ball"])
    assert (ids[0, 2], mask[0].tolist()) == (cat, [1, 1, 1, 1, 1, 0])
    same, masked = by_id(["dog cat ball"])
    assert same.tolist() == ids.tolist()
    assert masked[0].tolist() == [1, 1, 0, 1, 1, 0]


def test_padding_set_in_the_file_does_not_matter(tmp_path):
    toy.write_tokenizer(tmp_path / "t.json")
    from tokenizers import Tokenizer as HubTokenizer

    hub = HubTokenizer.from_file(str(tmp_path / "t.json"))
    hub.enable_padding(length=10, pad_id=3, pad_token="?")
    hub.enable_truncation(2)
    hub.save(str(tmp_path / "t.json"))
    ids, _ = Tokenizer(tmp_path / "t.json", 6, toy.PAD)(["dog"])
    assert ids.tolist() == [[1, toy.WORDS.index("dog"), 2, 0, 0, 0]]


def test_a_file_that_cannot_be_read_is_one_line(tmp_path):
    (tmp_path / "t.json").write_text("{")
    with pytest.raises(ArtifactError, match=r"t\.json: cannot be read"):
        Tokenizer(tmp_path / "t.json", 6, 0)
    toy.write_tokenizer(tmp_path / "t.json")
    with pytest.raises(ArtifactError, match="no token 99 to pad with"):
        Tokenizer(tmp_path / "t.json", 6, 99)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{}", "it is no tokenizer: Model missing"),
        ("[1]", "it is no tokenizer: invalid type"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_json_that_is_no_tokenizer_is_one_line(tmp_path, text, says):
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(ArtifactError, match=says) as caught:
        Tokenizer(tmp_path / "t.json", 6, 0)
    assert "\n" not in str(caught.value)


class Panic(BaseException):
    """As the library raises it where its Rust code panics: no Exception."""


@pytest.mark.parametrize(
    ("fails", "says"),
    [
        ("from_str", "it is no tokenizer: gone wrong"),
        ("encode", "its rules fail on text: gone wrong"),
    ],
)
def test_what_goes_wrong_inside_the_library_is_one_line(tmp_path, monkeypatch, fails, says):
    def panic(*_):
        raise Panic("gone\nwrong")

    toy.write_tokenizer(tmp_path / "t.json")
    library = SimpleNamespace(from_str=lambda _: library, encode=lambda _: None)
    setattr(library, fails, panic)
    monkeypatch.setattr(tokenizer_file.tokenizers, "Tokenizer", library)
    with pytest.raises(ArtifactError, match=says):
        Tokenizer(tmp_path / "t.json", 6, 0)


def test_another_number_of_tokens_than_the_text_encoder_takes_is_one_line(tmp_path):
    toy.write_tokenizer(tmp_path / "t.json")
    with pytest.raises(ArtifactError, match="compile it again"):
        Tokenizer(tmp_path / "t.json", 1, 0)


def test_what_is_read_of_a_phrase_ends_with_the_last_token_that_fits(tokenizer):
    assert tokenizer.read("dog cat ball red") == "dog cat ball red"
    assert tokenizer.read("dog  cat ball red dog cat") == "dog  cat ball red"
