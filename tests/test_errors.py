"""What errors' texts are made of."""

import shlex
from pathlib import Path

import pytest

from sam3_tvm.errors import as_argument


@pytest.mark.parametrize("name", ["plain", "out/tiny", "a b", "it's", "$HOME", "-x", "a\nb", "*"])
def test_a_suggested_command_takes_a_path_as_it_is(name):
    (word,) = shlex.split(as_argument(Path(name)))
    assert not word.startswith("-")
    assert Path(word) == Path(name)


def test_what_needs_no_quotes_has_none():
    assert as_argument(Path("out/tiny")) == "out/tiny"
