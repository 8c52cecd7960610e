"""Reading annotation files, and what is said of those that make no sense."""

from __future__ import annotations

import json

import numpy as np
import pytest
from rectangles import HEIGHT, WIDTH, prompt, rectangle

from sam3_tvm.evaluate.dataset import CATEGORY_KIND, DatasetError, read_dataset
from sam3_tvm.evaluate.segmentation import decode


def read(folder, limit=None):
    return read_dataset(folder / "annotations.json", folder, limit)


def test_a_plain_file_asks_for_every_category_of_every_picture(write, document):
    dataset = read(write(document))
    assert dataset.plain
    assert [p.path.name for p in dataset.pictures] == ["a.png", "b.png"]
    assert dataset.pictures[0].size == (HEIGHT, WIDTH)
    asked = [[(q.text, len(q.targets), len(q.crowds)) for q in p.queries] for p in dataset.pictures]
    assert asked == [[("dog", 2, 0), ("cat", 1, 0)], [("dog", 1, 1)]]
    assert dataset.queries == 3
    assert {q.kind for p in dataset.pictures for q in p.queries} == {CATEGORY_KIND}
    assert (decode(dataset.pictures[0].queries[0].targets[0]) == rectangle((1, 1, 5, 5))).all()


def test_a_category_that_is_there_as_a_crowd_only_is_not_asked_for(write, document):
    document["annotations"][4]["iscrowd"] = 1
    assert [p.path.name for p in read(write(document)).pictures] == ["a.png"]


def test_a_list_of_prompts_is_what_is_asked(write, document):
    document["prompts"] = [
        prompt(1, boxes=[[-3, 1, 5, 50]], box_labels=[0], kind="negative", held_out=True),
        prompt(2, image=3, text=None, boxes=[[1, 1, 4, 4]], box_labels=[1], annotation_ids=[]),
        prompt(3, annotation_ids=[2]),
    ]
    del document["categories"]
    dataset = read(write(document))
    assert not dataset.plain
    (first, third), (second,) = (p.queries for p in dataset.pictures)
    assert first.boxes == ((0.0, 1.0, 5.0, 20.0),)  # cut at the edges
    assert first.labels == (0,)
    assert (first.kind, first.held_out, len(first.targets)) == ("negative", True, 2)
    assert (second.text, second.labels, second.targets) == (None, (1,), ())
    assert (third.kind, third.held_out, third.category) == ("text", False, None)


def test_labels_are_alike_by_default(write, document):
    document["prompts"] = [prompt(1, boxes=[[1, 1, 4, 4], [2, 2, 9, 9]])]
    del document["prompts"][0]["box_labels"]
    assert read(write(document)).pictures[0].queries[0].labels == (1, 1)


def test_a_limit_reads_the_first_pictures_and_asks_for_no_others(write, document):
    folder = write(document)
    (folder / "b.png").unlink()
    assert len(read(folder, limit=1).pictures) == 1
    with pytest.raises(DatasetError, match=r"b\.png: no such picture"):
        read(folder)


def change(path, value):
    """A way to break a document: set the value at a path, or delete it."""

    def apply(document):
        *way, last = path
        for key in way:
            document = document[key]
        if value is ...:
            del document[last]
        else:
            document[last] = value

    return apply


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (change(["images"], ...), "no list of images"),
        (change(["images"], []), "no picture has the id 7"),
        (change(["annotations"], {}), "no list of annotations"),
        (change(["annotations"], []), "nothing to look for"),
        (change(["annotations", 0], 5), "no list of annotations"),
        (change(["categories"], ...), "no list of categories"),
        (change(["images", 0, "id"], ...), "a picture has the id None"),
        (change(["images", 0, "id"], [1]), "a picture has the id [1]"),
        (change(["images", 0, "id"], 3), "two entries in images have the id 3"),
        (change(["images", 0, "file_name"], ...), "picture 7: has no file_name"),
        (change(["images", 0, "file_name"], "c.png"), "c.png: no such picture"),
        (change(["images", 0, "height"], ...), "picture 7: its height and width are None and 30"),
        (change(["images", 0, "width"], 10**6), "its height and width are 20 and 1000000"),
        (change(["annotations", 1, "image_id"], 9), "annotation 1: no picture has the id 9"),
        (change(["annotations", 1, "image_id"], {}), "annotation 1: no picture has the id {}"),
        (change(["annotations", 1, "category_id"], 9), "annotation 1: no category has the id 9"),
        (change(["annotations", 2, "segmentation"], ...), "annotation 2: its segmentation is nei"),
        (change(["annotations", 2, "segmentation"], [[1, 2]]), "annotation 2: a polygon"),
        (change(["categories", 0, "name"], ...), "prompt 1 of picture 7: has neither text nor"),
        (change(["categories", 0, "name"], " "), "prompt 1 of picture 7: its text is ' '"),
        (change(["prompts"], 3), "no list of prompts"),
        (change(["prompts"], [prompt(1), prompt(1)]), "two entries in prompts have the id 1"),
        (change(["prompts"], []), "nothing to look for"),
        (change(["prompts"], [prompt(1, image=8)]), "prompt 1: no picture has the id 8"),
        (change(["prompts"], [prompt(1, text=5)]), "its text is 5"),
        (change(["prompts"], [prompt(1, kind="")]), "its kind is ''"),
        (change(["prompts"], [prompt(1, boxes=7)]), "its boxes are 7"),
        (change(["prompts"], [prompt(1, boxes=[[1, 2, 3]])]), "the box [1, 2, 3] is not"),
        (change(["prompts"], [prompt(1, boxes=[[1, 2, 3, "4"]])]), "is not x0, y0, x1, y1"),
        (change(["prompts"], [prompt(1, boxes=[[5, 5, 2, 9]])]), "is empty, or lies outside"),
        (change(["prompts"], [prompt(1, boxes=[[40, 5, 50, 9]])]), "is empty, or lies outside"),
        (change(["prompts"], [prompt(1, boxes=[[1, 1, 9, 9]])]), "box_labels are []"),
        (change(["prompts"], [prompt(1, box_labels=[1])]), "box_labels are [1]"),
        (change(["prompts"], [prompt(1, annotation_ids=...)]), "no list of annotation_ids"),
        (change(["prompts"], [prompt(1, annotation_ids=[12])]), "no annotation of the id 12"),
        (change(["prompts"], [prompt(1, annotation_ids=[4])]), "no annotation of the id 4"),
        (change(["prompts"], [prompt(1, annotation_ids=[[4]])]), "no annotation of the id None"),
    ],
)
def test_what_makes_no_sense_is_named(write, document, broken, says):
    broken(document)
    for one in document.get("prompts") or [] if isinstance(document.get("prompts"), list) else []:
        if one.get("annotation_ids") is ...:
            del one["annotation_ids"]
    with pytest.raises(DatasetError) as caught:
        read(write(document))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "no such file; give a folder with annotations.json"),
        (b"{", "is no JSON"),
        (b"\xff\xfe", "is no JSON"),
        (b"[1]", "is no annotation file"),
        (b"[" * 100_000, "is no JSON"),
    ],
)
def test_what_is_no_annotation_file_is_named(tmp_path, content, says):
    if content is not None:
        (tmp_path / "annotations.json").write_bytes(content)
    with pytest.raises(DatasetError, match=says):
        read(tmp_path)


def test_run_lengths_as_json_writes_them_are_read(write, document):
    from sam3_tvm.evaluate.segmentation import encode

    mask = np.random.default_rng(3).random((HEIGHT, WIDTH)) < 0.3
    counts = encode(mask)["counts"].decode("ascii")
    document["annotations"][2]["segmentation"] = {"size": [HEIGHT, WIDTH], "counts": counts}
    assert json.loads(json.dumps(document)) == document
    cat = read(write(document)).pictures[0].queries[1]
    assert (decode(cat.targets[0]) == mask).all()


def test_categories_of_one_name_are_one(write, document):
    """Sets that were merged have a name under several ids; case and spaces don't tell names apart
    to the text encoder."""
    document["categories"] += [{"id": 5, "name": "Dog "}, {"id": 6, "name": "dog"}]
    document["annotations"][1]["category_id"] = 5
    document["annotations"][4]["category_id"] = 6
    first, second = read(write(document)).pictures
    assert [(q.text, q.id, len(q.targets)) for q in first.queries] == [("dog", 1, 2), ("cat", 2, 1)]
    assert [(q.category, len(q.targets), len(q.crowds)) for q in second.queries] == [(1, 1, 1)]


@pytest.mark.parametrize("value", [0, 0.0, "0", False, "false", None])
def test_a_crowd_that_is_none_is_none_in_every_spelling(write, document, value):
    document["annotations"][3]["iscrowd"] = value
    assert len(read(write(document)).pictures[1].queries[0].targets) == 2


@pytest.mark.parametrize("value", [1, 1.0, "1", True])
def test_a_crowd_is_one_in_every_spelling(write, document, value):
    document["annotations"][4]["iscrowd"] = value
    assert len(read(write(document)).pictures) == 1


@pytest.mark.parametrize("value", [2, "yes", -1, [0], float("nan")])
def test_what_is_neither_is_refused_with_its_place(write, document, value):
    document["annotations"][4]["iscrowd"] = value
    with pytest.raises(DatasetError, match=r"annotation 4: its iscrowd is .*; 0 or 1"):
        read(write(document))


def test_held_out_as_text_is_what_it_says(write, document):
    document["prompts"] = [prompt(1, held_out="false"), prompt(2, held_out="true")]
    assert [q.held_out for q in read(write(document)).pictures[0].queries] == [False, True]


def test_numbers_as_tables_write_them_are_numbers(write, document):
    """Through a data frame 7 becomes 7.0, through a spreadsheet "7"."""
    plain = read(write(document))
    document["images"][0] |= {"id": "7", "height": 20.0, "width": "30"}
    for one in document["annotations"]:
        one |= {"image_id": float(one["image_id"]), "category_id": str(one["category_id"])}
    read_back = read(write(document))
    assert [p.size for p in read_back.pictures] == [p.size for p in plain.pictures]
    assert [len(q.targets) for p in read_back.pictures for q in p.queries] == [2, 1, 1]


def test_a_name_that_looks_like_a_number_stays_one(write, document):
    document["images"][0]["id"] = "007"
    with pytest.raises(DatasetError, match="annotation 0: no picture has the id 7"):
        read(write(document))


@pytest.mark.parametrize("mark", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_is_read_and_another_encoding_named(write, document, mark):
    folder = write(document)
    (folder / "annotations.json").write_text(json.dumps(document), encoding=mark)
    if mark == "utf-8-sig":
        assert len(read(folder).pictures) == 2
    else:
        with pytest.raises(DatasetError, match=f"it is {mark.upper()}, and JSON is UTF-8"):
            read(folder)
