import gzip

import pytest
from meta_tiny import needs_meta

from sam3_tvm.sources import SourceError
from sam3_tvm.sources.meta.environment import meta_environment
from sam3_tvm.sources.meta.vocabulary import MERGES, find_tokenizer, tokenizer_of_merges

# A few merges in CLIP's manner; the full list is downloaded by nobody here.
PAIRS = [
    *[("t", "h"), ("th", "e</w>"), ("a", "t</w>"), ("c", "at</w>"), ("'", "s</w>")],
    *[("r", "e"), ("re", "d</w>"), ("o", "g</w>"), ("d", "og</w>"), ("!", "!"), ("!!", "!</w>")],
    *[("Ã", "©</w>"), ("ð", "Ł"), ("ðŁ", "Ĳ"), ("f", "i"), ("fi", "s"), ("fis", "h</w>")],
    *[("1", "2"), ("w", "o"), ("wo", "r"), ("wor", "d</w>"), ("Ï", "ĥ"), ("Ï", "Ĥ</w>")],
]
AWKWARD = [
    "",
    "a cat",
    "the red dog's word",
    "l'\u00e9t\u00e9 \u00e0 la plage",
    "caf\u00e9",
    "cafe\u0301",
    "\u2019s \u201cquoted\u201d \u2018cat\u2019",
    "don't you've I'M they'll he'd we're",
    "\U0001f436 and \U0001f431!",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467 family",
    "  two   spaces\t\n new line ",
    "\u00a0no\u00a0break\u2028line\u3000wide",
    "word " * 200,
    "x" * 300,
    "!!! !? a!b a_b-c",
    "12345 3.14 \u00bd \u00b2 \u2460 \u2167",
    "\u65e5\u672c\u8a9e \u0440\u0443\u0441\u0441\u043a\u0438\u0439 \ud55c\uad6d\uc5b4",
    "\ufb01sh \uff26\uff35\uff2c\uff2c \u01c5",
    "&lt;b&gt; &amp;amp; &quot;x&quot;",
    "\x00\x07\ufeffbell",
    "\u03a3\u0391\u03a3 \u0130stanbul \u1e9e",
    "<|startoftext|> cat <|endoftext|>",
    "http://x.y/z?q=1 50% off $5 \u20ac7 C++ & C#",
]


@pytest.fixture(scope="module")
def simple(tmp_path_factory):
    """Meta's own tokenizer of these merges."""
    path = tmp_path_factory.mktemp("merges") / MERGES
    lines = ["title", *(" ".join(pair) for pair in PAIRS)]
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    with meta_environment():
        from sam3.model.tokenizer_ve import SimpleTokenizer

        return SimpleTokenizer(str(path))


@needs_meta
@pytest.mark.parametrize("text", AWKWARD, ids=ascii)
def test_ids_are_those_of_meta_s_tokenizer(simple, text):
    tokenizer = tokenizer_of_merges(PAIRS)
    want = [simple.sot_token_id, *simple.encode(text), simple.eot_token_id]
    assert tokenizer.encode(text).ids == want
    assert tokenizer.get_vocab_size() == simple.vocab_size


def test_a_merge_is_used():
    tokenizer = tokenizer_of_merges(PAIRS)
    assert tokenizer.encode("The CAT").tokens[1:-1] == ["the</w>", "cat</w>"]


def test_the_tokenizer_beside_the_checkpoint_comes_first(tmp_path):
    given = tokenizer_of_merges(PAIRS).to_str()
    (tmp_path / "tokenizer.json").write_text(given, encoding="utf-8")
    (tmp_path / MERGES).write_bytes(b"not read")
    assert find_tokenizer(tmp_path) == given


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tokenizer.json", b"{}", "is no tokenizer"),
        ("tokenizer.json", b"{", "is no tokenizer"),
        (MERGES, b"text", "is no list of merges"),
        (MERGES, gzip.compress(b"title\na b\n"), "is not CLIP's list of merges"),
    ],
)
def test_a_file_that_is_none_is_one_line(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=message) as error:
        find_tokenizer(tmp_path)
    assert "\n" not in str(error.value)


def test_without_any_the_error_says_where_to_get_one(tmp_path, monkeypatch):
    monkeypatch.setattr("sam3_tvm.sources.meta.vocabulary._installed_merges", list)
    with pytest.raises(SourceError, match=r"tokenizer\.json.*pip install open_clip_torch"):
        find_tokenizer(tmp_path)
