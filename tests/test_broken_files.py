"""Files that somebody or something changed: each is read as what it says, or refused in a line.

Changes are seeded. To try many more: ``python tests/test_broken_files.py SEED COUNT``.
"""

from __future__ import annotations

import copy
import json
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sam3_tvm import artifact
from sam3_tvm.errors import Sam3Error
from sam3_tvm.evaluate import read_dataset
from sam3_tvm.runtime.concepts.tokenizer import Tokenizer

sys.path.insert(0, str(Path(__file__).parent / "runtime"))
sys.path.insert(0, str(Path(__file__).parent / "evaluate"))
import rectangles
import toy

VALUES = (
    *(None, True, False, 0, 1, -1, 7, 2**31, 2**63, 10**30, 0.0, 0.5, -2.5, 1e300),
    *(float("inf"), float("nan"), "", "x", "7", "\x1b[2J", "a\nb", "\ud800", "../x", "float32"),
    *([], {}, [1], ["a"], [[]], [None], {"a": 1}, {"name": "x"}, {"name": "b", "min": 2, "max": 1}),
)


def places(data: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every entry of plain data."""
    if way:
        yield way
    if isinstance(data, dict | list):
        entries = data.items() if isinstance(data, dict) else enumerate(data)
        for key, value in entries:
            yield from places(value, (*way, key))


def changed(data: Any, chance: random.Random) -> bytes:
    """Plain data as JSON, with one to three changes in its entries or its text."""
    data = copy.deepcopy(data)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        *way, last = chance.choice(list(places(data)))
        node = data
        for key in way:
            node = node[key]
        how = chance.random()
        if how < 0.2:
            del node[last]
        elif how < 0.3 and isinstance(node, dict):
            node[chance.choice(("new", "\x1b]0;", ""))] = node.pop(last)
        elif how < 0.4 and isinstance(node, list):
            node.append(copy.deepcopy(node[last]))
        else:
            node[last] = copy.deepcopy(chance.choice(VALUES))
        if not data:
            break
    text = bytearray(json.dumps(data).encode())
    if chance.random() < 0.15:
        at = chance.randrange(len(text))
        how = chance.randrange(4)
        if how == 0:
            del text[at:]
        elif how == 1:
            text[at] ^= 1 << chance.randrange(8)
        elif how == 2:
            text[at:at] = b"[" * chance.choice((1, 100_000))
        else:
            text[:0] = chance.choice((b"\xef\xbb\xbf", b"\xff\xfe", b"\x00"))
    return bytes(text)


def read_artifact(folder: Path) -> None:
    """As loading does it, but for the code."""
    opened = artifact.open(folder)
    opened.manifest.to_json()
    opened.check_host()
    weights = opened.weights()
    for name in opened.manifest.components:
        weights.function(name)
    rules, sizes = opened.manifest.tokenizer, opened.manifest.sizes
    if sizes.text_tokens <= 4096:
        path = folder / rules.file
        Tokenizer(path, sizes.text_tokens, rules.pad_id, rules.mask_by_id)(["dog", "a red ball"])


def restated(folder: Path, name: str) -> None:
    """Let the manifest say of a file what it now is, so that its contents are looked at."""
    import hashlib

    path = folder / artifact.MANIFEST
    data = json.loads(path.read_text())
    raw = (folder / name).read_bytes()
    data["files"][name] = {"bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
    path.write_text(json.dumps(data))


Case = tuple[Any, Callable[[bytes], None]]


def cases(tmp: Path) -> dict[str, Case]:
    """By name: the data to change, and what reads the changed bytes."""
    made = toy.write_artifact(tmp / "toy", stages=toy.STAGES).path
    data = rectangles.write_folder(tmp / "data", rectangles.document())
    prompts = rectangles.document() | {
        "prompts": [
            rectangles.prompt(1),
            rectangles.prompt(2, boxes=[[1, 1, 5, 5]], box_labels=[1]),
        ]
    }
    kept = (made / artifact.MANIFEST).read_bytes()

    def in_artifact(name: str) -> Callable[[bytes], None]:
        def read(raw: bytes) -> None:
            whole = (made / name).read_bytes()
            try:
                (made / name).write_bytes(raw)
                if name != artifact.MANIFEST:
                    restated(made, name)
                read_artifact(made)
            finally:
                (made / name).write_bytes(whole)
                (made / artifact.MANIFEST).write_bytes(kept)

        return read

    def annotations(raw: bytes) -> None:
        (data / "annotations.json").write_bytes(raw)
        read_dataset(data / "annotations.json", data)

    found: dict[str, Case] = {
        name: (json.loads((made / name).read_bytes()), in_artifact(name))
        for name in (artifact.MANIFEST, "weights.json", "tokenizer.json")
    }
    found["annotations"] = (rectangles.document(), annotations)
    found["prompts"] = (prompts, annotations)
    return found


def outcome(read: Callable[[bytes], None], raw: bytes) -> str:
    """``read`` or ``refused``; anything else is raised."""
    try:
        read(raw)
    except Sam3Error as error:
        message = str(error)
        assert message.isprintable(), repr(message)
        assert len(message) < 1500, message
        return "refused"
    return "read"


@pytest.mark.parametrize(
    "name", [artifact.MANIFEST, "weights.json", "tokenizer.json", "annotations", "prompts"]
)
def test_a_changed_file_is_read_or_refused_in_one_line(tmp_path, name):
    data, read = cases(tmp_path)[name]
    assert outcome(read, json.dumps(data).encode()) == "read"
    chance = random.Random(name)
    seen = Counter(outcome(read, changed(data, chance)) for _ in range(80))
    assert seen["refused"] > 20, seen


if __name__ == "__main__":
    seed, count = map(int, sys.argv[1:])
    with tempfile.TemporaryDirectory() as folder:
        for name, (data, read) in cases(Path(folder)).items():
            chance, seen = random.Random(seed), Counter()
            for _ in range(count):
                raw = changed(data, chance)
                try:
                    seen[outcome(read, raw)] += 1
                except BaseException as error:
                    seen[f"{type(error).__name__}: {str(error)[:150]}"] += 1
            print(name, dict(seen))
