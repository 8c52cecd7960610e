"""What is looked for, and what a dataset calls it: phrases and their categories."""

from __future__ import annotations

import os
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sam3_tvm.annotate.faults import Refused
from sam3_tvm.extras import needed
from sam3_tvm.json_file import parse_json, read_regular

__all__ = ["Phrase", "categories", "parse_phrase", "phrases_of", "read_classes"]


@dataclass(frozen=True)
class Phrase:
    """A phrase to look for.

    Attributes:
        text: the phrase.
        category: what the objects that it finds are called; several phrases may share one.
    """

    text: str
    category: str


def parse_phrase(text: str) -> Phrase:
    """A phrase in the form ``phrase`` or ``phrase=category``; the last ``=`` counts.

    Raises:
        Refused: a phrase or a category without a letter.
    """
    phrase, equals, category = text.rpartition("=")
    made = (
        Phrase(phrase.strip(), category.strip()) if equals else Phrase(text.strip(), text.strip())
    )
    if not made.text or not made.category:
        raise Refused(
            "phrases", f"{text!r}: a phrase, or phrase=category, such as 'forklift truck=vehicle'"
        )
    return made


def phrases_of(given: Iterable[str | Phrase]) -> tuple[Phrase, ...]:
    """Phrases as they are looked for: strings parsed, the same phrase once.

    Raises:
        Refused: none, an empty one, or a phrase with two categories.
    """
    found: dict[str, Phrase] = {}
    for one in given:
        phrase = (
            parse_phrase(one)
            if isinstance(one, str)
            else Phrase(one.text.strip(), one.category.strip())
        )
        if not phrase.text or not phrase.category:
            raise Refused("phrases", f"{one!r}: has no phrase, or no category")
        before = found.setdefault(phrase.text, phrase)
        if before != phrase:
            raise Refused(
                "phrases",
                f"{phrase.text!r}: is of two categories, {before.category!r} and "
                f"{phrase.category!r}",
            )
    if not found:
        raise Refused("phrases", "nothing to look for: give at least one phrase", False)
    return tuple(found.values())


def categories(phrases: Sequence[Phrase]) -> tuple[str, ...]:
    """The categories in the order of the phrases; their places are a dataset's class numbers."""
    return tuple(dict.fromkeys(phrase.category for phrase in phrases))


def read_classes(path: str | os.PathLike[str]) -> list[Phrase]:
    """Phrases and categories from a file in YAML or JSON.

    Either a list of phrases, or a mapping from categories to a phrase, to a list of them, or to
    nothing where the category's name is the phrase::

        vehicle: [forklift truck, car]
        person:

    Args:
        path: ``NAME.json`` is read as JSON, anything else as YAML, which needs PyYAML.

    Raises:
        Refused: no such file, or one that holds something else.
        MissingExtraError: PyYAML isn't installed.
    """
    file = Path(path)
    try:
        raw = read_regular(file)
        given = parse_json(raw, strict=True) if file.suffix.lower() == ".json" else _yaml(raw)
    except OSError as error:
        raise Refused("classes", f"{file}: cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        raise Refused("classes", f"{file}: cannot be read: {error}") from error
    pairs: list[tuple[Any, Any]] = []
    if isinstance(given, Mapping):
        pairs = [*given.items()]
    elif isinstance(given, list):
        pairs = [(name, None) for name in given]
    if not pairs:
        raise Refused(
            "classes", f"{file}: is neither a list of phrases nor a mapping from categories to them"
        )
    return [phrase for name, texts in pairs for phrase in _of_category(file, name, texts)]


def _of_category(file: Path, name: Any, texts: Any) -> list[Phrase]:
    listed = [name] if texts is None else texts if isinstance(texts, list) else [texts]
    if not listed:
        raise Refused("classes", f"{file}: {name!r} has no phrases; give some, or no list at all")
    for text in (name, *listed):
        # YAML reads some words as something else: no, 12, 2026-01-01.
        if not isinstance(text, str) or not text.strip():
            raise Refused(
                "classes",
                f"{file}: {_REPR.repr(text)} is no phrase; a word that YAML reads as another "
                "kind of value is quoted, such as 'no'",
            )
    return [Phrase(text.strip(), name.strip()) for text in listed]


# Aliases in YAML make a short file long without end.
_REPR = reprlib.Repr()
_REPR.maxlevel, _REPR.maxstring = 2, 60


def _yaml(raw: bytes) -> Any:
    with needed("annotate", "reading YAML"):
        import yaml

    class Loader(yaml.SafeLoader):
        """Refuses a key that is given twice, as JSON's reader does."""

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            pairs = node.value if isinstance(node, yaml.MappingNode) else ()
            keys = [(key.tag, key.value) for key, _ in pairs if isinstance(key, yaml.ScalarNode)]
            for number, key in enumerate(keys):
                if key in keys[:number]:
                    raise ValueError(f"it has {key[1]!r} twice")
            return super().construct_mapping(node, deep)

    try:
        return yaml.load(raw, Loader)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(f"{error}".split())) from error
    except RecursionError as error:
        raise ValueError("its lists or mappings are nested too deeply") from error
    except (LookupError, AttributeError, TypeError, ArithmeticError) as error:
        # PyYAML's own, of a tag such as !!int before what is none.
        raise ValueError("a value isn't what its tag says") from error
