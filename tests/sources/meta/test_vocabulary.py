import gzip
import os
from pathlib import Path

import pytest
from meta_tiny import needs_meta

from sam3_tvm.sources import SourceError
from sam3_tvm.sources.meta.environment import meta_environment
from sam3_tvm.sources.meta.vocabulary import (
    MERGES,
    find_tokenizer,
    installed_merges,
    read_merges,
    tokenizer_of_merges,
)

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
    "\u0000\u0007\ufeffbell",
    "\u03a3\u0391\u03a3 \u0130stanbul \u1e9e",
    "<|startoftext|> cat <|endoftext|>",
    "http://x.y/z?q=1 50% off $5 \u20ac7 C++ & C#",
    "l\u2019\u00e9t\u00e9 \u201cquoted\u201d",
    "na\u00efve caf\u00e9",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 family",
    "don't you've I'M they'll he'd",
    "'s 't",
    "200 words " * 100,
    "\ufb01sh \ufb02ower \ufb03",
    "\uff26\uff35\uff2c\uff2c\u3000\uff57\uff49\uff44\uff54\uff48",
    "12345 3.14",
    "\u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8",
    "\u0440\u0443\u0441\u0441\u043a\u0438\u0439 \u0442\u0435\u043a\u0441\u0442",
    "!!!",
    "! a !",
    "!?",
    "a!b",
    "a_b-c",
    "&amp; &lt;b&gt; &quot;x&quot;",
    "<b>bold</b>",
    "\u0000\u0007bell",
    "\ufeffbom",
    "\u00c0\u00c9\u00ce\u00d5\u00dc",
    "\u0130stanbul",
    "\u00df \u1e9e",
    "\u03a3\u0391\u03a3",
    "\u00bd \u00b2 \u2460",
    "\u200bzero\u200bwidth",
    "\u00a0nbsp\u00a0",
    "a\u2028b",
    "<|startoftext|> a",
    "\u01c5",
    "\u2026dots...",
    "\u2014dash\u2013",
    "\u00aa\u00ba",
    "\ud55c\uad6d\uc5b4",
    "\u0939\u093f\u0928\u094d\u0926\u0940",
    "\u0639\u0631\u0628\u0649",
    "\u0301",
    "a\u0300\u0301",
    "e\u0301\u0327",
    "\ufdfa",
    "\u2103",
    "\u2167",
    "sch\u00f6ne gr\u00f6\u00dfe",
    "\u201c",
    "&",
    "&amp;amp;",
    "C++ & C#",
    "50% off $5 \u20ac7",
    "@user #tag",
    "http://x.y/z?q=1",
    "\r\n",
    "tab\tx",
    "\u0149",
    "\u0133",
    " '",
    "''",
    "'''''",
]


def simple_tokenizer(merges):
    """Meta's own tokenizer of a list of merges."""
    with meta_environment():
        from sam3.model.tokenizer_ve import SimpleTokenizer

        return SimpleTokenizer(str(merges))


@pytest.fixture(scope="module")
def simple(tmp_path_factory):
    path = tmp_path_factory.mktemp("merges") / MERGES
    lines = ["title", *(" ".join(pair) for pair in PAIRS)]
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    return simple_tokenizer(path)


@needs_meta
@pytest.mark.parametrize("text", AWKWARD, ids=ascii)
def test_ids_are_those_of_meta_s_tokenizer(simple, text):
    tokenizer = tokenizer_of_merges(PAIRS)
    want = [simple.sot_token_id, *simple.encode(text), simple.eot_token_id]
    assert tokenizer.encode(text).ids == want
    assert tokenizer.get_vocab_size() == simple.vocab_size


@needs_meta
def test_ids_are_those_of_meta_s_tokenizer_with_the_whole_list():
    """With CLIP's merges, where an installed package or SAM3_TVM_MERGES has them."""
    named = os.environ.get("SAM3_TVM_MERGES")
    places = [Path(named)] if named else [p for p in installed_merges() if p.is_file()]
    if not places:
        pytest.skip(f"no {MERGES} here: pip install open_clip_torch, or name it in SAM3_TVM_MERGES")
    simple = simple_tokenizer(places[0])
    tokenizer = tokenizer_of_merges(read_merges(places[0]))
    for text in AWKWARD:
        want = [simple.sot_token_id, *simple.encode(text), simple.eot_token_id]
        assert tokenizer.encode(text).ids == want, text


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
        (MERGES, gzip.compress(b"title\na b\n", mtime=0), "is not CLIP's list of merges"),
    ],
)
def test_a_file_that_is_none_is_one_line(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=message) as error:
        find_tokenizer(tmp_path)
    assert "\n" not in str(error.value)


def test_without_any_the_error_says_where_to_get_one(tmp_path, monkeypatch):
    monkeypatch.setattr("sam3_tvm.sources.meta.vocabulary.installed_merges", list)
    with pytest.raises(SourceError, match=r"tokenizer\.json.*pip install open_clip_torch"):
        find_tokenizer(tmp_path)
