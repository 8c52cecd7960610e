"""The model's logic, on functions that NumPy computes and that count their calls."""

from __future__ import annotations

import dataclasses
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import toy
from PIL import Image

import sam3_tvm
from sam3_tvm.artifact import ArtifactError
from sam3_tvm.components import AbiError
from sam3_tvm.runtime.execution.functions import FunctionTable
from sam3_tvm.runtime.pictures.arguments import PromptError
from sam3_tvm.runtime.pictures.image import ImageError, preprocess

SIZE = (40, 60)
BOX = [[6, 4, 30, 24]]


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


@pytest.fixture
def image(model, picture):
    return model.encode_image(picture)


def expected(model, image, text, boxes=(), labels=(), threshold=0.5):
    """One prompt by the book: boxes, scores, queries and masks of what is kept, best first."""
    words = [toy.START, *(toy.WORDS.index(w) for w in text.split()), toy.END]
    ids = np.array([words + [toy.PAD] * (6 - len(words))])
    mask = np.array([[1] * len(words) + [0] * (6 - len(words))])
    w = {k: list(v.values()) for k, v in toy.weights().items()}
    t = toy.ToyFunctions
    prompt, valid = t.text_encoder(ids, mask, *w["text_encoder"]), mask.astype(bool)
    if len(boxes):
        x0, y0, x1, y1 = np.array(boxes, np.float64).T
        height, width = image.size
        normal = [(x0 + x1) / 2 / width, (y0 + y1) / 2 / height]
        normal = np.stack([*normal, (x1 - x0) / width, (y1 - y0) / height], -1).astype(np.float32)
        given = np.ones((1, len(boxes)), bool)
        more = t.geometry_encoder(normal[None], np.array([labels]), given, image.features["fpn_2"])
        prompt = np.concatenate([prompt, more[0]], 1)
        valid = np.concatenate([valid, more[1]], 1)
    memory = t.detr_encoder(image.features["fpn_2"], prompt, valid)
    queries, where, presence = t.detr_decoder(memory, prompt, valid, *w["detr_decoder"])
    scores = 1 / (1 + np.exp(-t.scoring(queries, prompt, valid)[0]))
    scores = scores / (1 + np.exp(-presence[0, 0]))
    order = [i for i in np.argsort(-scores) if scores[i] > threshold]
    cx, cy, bw, bh = where[0, order].T
    corners = np.stack([cx - bw / 2, cy - bh / 2, cx + bw / 2, cy + bh / 2], -1)
    corners *= [image.size[1], image.size[0]] * 2
    masks = (queries[0, order] @ image.features["fpn_0"].reshape(4, 64)).reshape(-1, 8, 8)
    return corners, scores[order], order, t.resize_masks(masks, image.size)


def assert_same(result, wanted):
    boxes, scores, queries, masks = wanted
    assert len(result) == len(scores)
    np.testing.assert_allclose(result.boxes, boxes, rtol=1e-5)
    np.testing.assert_allclose(result.scores, scores, rtol=1e-5)
    assert result.queries.tolist() == queries
    np.testing.assert_array_equal(result.masks, masks)


def test_a_picture_is_encoded_at_its_size(model, picture, image):
    assert image.size == SIZE
    assert repr(image) == "EncodedImage(60x40)"
    pixels = preprocess(picture, model.manifest.preprocessing)
    want = toy.ToyFunctions()("vision_encoder", [pixels])
    assert list(image.features) == ["fpn_2", "fpn_0", "fpn_1"]
    for name, wanted in zip(["fpn_0", "fpn_1", "fpn_2"], want, strict=True):
        np.testing.assert_array_equal(image.features[name], wanted)


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 0.9, 1.0])
def test_text_finds_what_scores_above_the_threshold_best_first(model, image, threshold):
    result = model.segment(image, "red dog", threshold=threshold)
    assert_same(result, expected(model, image, "red dog", threshold=threshold))
    assert (result.boxes.dtype, result.scores.dtype) == (np.float32, np.float32)
    assert (result.text, result.size) == ("red dog", SIZE)


def test_the_examples_tell_thresholds_apart(model, image):
    # The test above would prove nothing if every threshold kept the same.
    counts = [len(model.segment(image, "red dog", threshold=t)) for t in (0, 0.3, 0.5, 1)]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] == toy.SIZES.queries
    assert counts[-1] == 0
    assert len(set(counts)) >= 3


def test_boxes_join_the_text(model, image, functions):
    result = model.segment(image, "dog", BOX, threshold=0.1)
    assert_same(result, expected(model, image, "dog", BOX, [1], 0.1))
    negative = model.segment(image, "dog", BOX, [0], threshold=0.1)
    assert_same(negative, expected(model, image, "dog", BOX, [0], 0.1))
    assert not np.array_equal(result.scores, negative.scores)


def test_boxes_alone_go_with_the_references_text(model, image):
    result = model.segment(image, boxes=BOX, threshold=0.1)
    assert result.text == "visual"
    assert_same(result, expected(model, image, "visual", BOX, [1], 0.1))


def test_geometry_runs_without_boxes_only_if_the_reference_does(
    toy_artifact, model, image, functions
):
    model.segment(image, "dog")
    assert functions.calls["geometry_encoder"] == 0
    source = toy_artifact.manifest.source
    rules = dataclasses.replace(source.reference, geometry_without_boxes=True)
    source = dataclasses.replace(source, reference=rules)
    manifest = dataclasses.replace(toy_artifact.manifest, source=source)
    always = toy.make_model(toy_artifact, functions, manifest)
    result = always.segment(image, "dog", threshold=0)
    assert functions.calls["geometry_encoder"] == 1
    without = model.segment(image, "dog", threshold=0)
    assert not np.array_equal(result.scores, without.scores)


PHRASES = ["dog", "cat", "red ball", "ball", "red dog", "red cat", "nothing", "dog cat", "cat dog",
           "ball dog", "dog"]  # fmt: skip


@pytest.fixture
def point_model(toy_artifact):
    """A model whose geometry takes points, and a list of what its geometry was given."""
    functions, given = toy.ToyPointFunctions(), []
    plain = functions.geometry_encoder
    functions.geometry_encoder = lambda *inputs: given.append(inputs) or plain(*inputs)
    return toy.make_model(toy_artifact, functions, toy.with_points(toy_artifact.manifest)), given


def test_points_go_to_the_geometry_beside_boxes(point_model, picture):
    model, given = point_model
    points = {"points": [[30, 10], [60, 40]], "point_labels": [1, 0]}
    model.segment(picture, text="dog", boxes=BOX, threshold=0, **points)
    boxes, _, box_mask, where, labels, mask, _ = given[-1]
    assert (boxes.shape, box_mask.tolist()) == ((1, 1, 4), [[True]])
    np.testing.assert_allclose(where, [[[0.5, 0.25], [1, 1]]])
    assert (labels.tolist(), mask.tolist()) == ([[1, 0]], [[True, True]])
    model.segment(picture, text="dog", boxes=BOX, threshold=0)
    assert [x.shape for x in given[-1][3:6]] == [(1, 0, 2), (1, 0), (1, 0)]


def test_points_alone_are_a_prompt_and_padding_them_changes_nothing(point_model, picture):
    model, _ = point_model
    image = model.encode_image(picture)
    spots = [[[30, 10]], [[5, 5], [20, 30]]]
    together = model.segment(image, text=["dog", "cat"], points=spots, threshold=0)
    for text, points, ours in zip(["dog", "cat"], spots, together, strict=True):
        alone = model.segment(image, text=text, points=points, threshold=0)
        np.testing.assert_allclose(ours.scores, alone.scores, rtol=1e-6)
        plain = model.segment(image, text=text, threshold=0)
        assert not np.allclose(ours.scores, plain.scores, rtol=1e-3)
    assert model.segment(image, points=spots[0]).text == "visual"


def test_points_are_refused_where_the_model_takes_none(model, picture, functions):
    with pytest.raises(PromptError, match="takes no points"):
        model.segment(picture, text="dog", points=[[1, 1]])
    assert not functions.calls


def test_several_phrases_give_what_each_gives_alone(model, image, functions):
    results = model.segment(image, PHRASES, threshold=0.2)
    assert [r.text for r in results] == PHRASES
    for phrase, result in zip(PHRASES, results, strict=True):
        assert_same(result, expected(model, image, phrase, threshold=0.2))
    # Eleven prompts, in groups of at most eight; masks one prompt at a time.
    assert [b for n, b in functions.batches if n == "detr_encoder"] == [8, 3]
    assert {b for n, b in functions.batches if n == "mask_decoder"} == {1}


def test_padded_boxes_change_nothing(model, image, functions):
    boxes = [None, BOX, BOX * 2 + [[0, 0, 60, 40]], None, [[1, 1, 9, 9]]]
    labels = [None, [0], [1, 0, 1], None, [1]]
    phrases = ["dog", "cat", "ball", "red", "dog"]
    results = model.segment(image, phrases, boxes, labels, threshold=0.1)
    for phrase, b, c, result in zip(phrases, boxes, labels, results, strict=True):
        assert_same(result, expected(model, image, phrase, b or (), c or (), 0.1))
    # Prompts with and without geometry never share a batch.
    assert [b for n, b in functions.batches if n == "detr_encoder"] == [2, 3]
    assert [b for n, b in functions.batches if n == "geometry_encoder"] == [1, 1, 1]


def test_a_narrower_batch_bound_is_kept(toy_artifact, functions, image):
    components = dict(toy_artifact.manifest.components)
    for name, component in components.items():
        inputs = tuple(
            dataclasses.replace(
                spec,
                shape=tuple(
                    dataclasses.replace(d, max=2) if getattr(d, "name", "") == "batch" else d
                    for d in spec.shape
                ),
            )
            for spec in component.inputs
        )
        components[name] = dataclasses.replace(component, inputs=inputs)
    manifest = dataclasses.replace(toy_artifact.manifest, components=components)
    narrow = toy.make_model(toy_artifact, functions, manifest)
    results = narrow.segment(image, ["dog", "cat", "ball"], threshold=0.2)
    assert [b for n, b in functions.batches if n == "detr_encoder"][-2:] == [2, 1]
    assert_same(results[2], expected(narrow, image, "ball", threshold=0.2))


def test_masks_are_decoded_for_kept_queries_only(model, image, functions):
    model.segment(image, "dog", threshold=1.0)
    assert functions.calls["mask_decoder"] == 0
    kept = []
    call = functions.mask_decoder
    functions.mask_decoder = lambda *inputs: kept.append(inputs[0].shape[1]) or call(*inputs)
    result = model.segment(image, "dog", threshold=0.4)
    assert kept == [len(result)]
    assert 0 < len(result) < toy.SIZES.queries


def test_a_phrase_is_encoded_once(model, image, functions):
    model.segment(image, ["dog", "cat", "dog"])
    assert [b for n, b in functions.batches if n == "text_encoder"] == [2]
    model.segment(image, "dog")
    model.segment(image, ["cat", "ball"])
    assert [b for n, b in functions.batches if n == "text_encoder"] == [2, 1]


def test_cached_phrases_are_bounded(model, image, functions):
    phrases = [f"dog {'cat ' * n}" for n in range(40)]
    for start in range(10):
        model.segment(image, [f"{start} {p}" for p in phrases], threshold=1)
    assert len(model._detector._encode._phrases) == 256
    calls = functions.calls["text_encoder"]
    model.segment(image, f"9 {phrases[-1]}", threshold=1)
    assert functions.calls["text_encoder"] == calls
    model.segment(image, f"0 {phrases[0]}", threshold=1)
    assert functions.calls["text_encoder"] == calls + 1


def test_a_picture_or_its_encoding_give_the_same(model, picture, image, tmp_path, functions):
    Image.fromarray(picture).save(tmp_path / "p.png")
    wanted = model.segment(image, "dog", threshold=0.1)
    encoded = functions.calls["vision_encoder"]
    for source in (picture, tmp_path / "p.png", str(tmp_path / "p.png"), Image.fromarray(picture)):
        result = model.segment(source, "dog", threshold=0.1)
        np.testing.assert_array_equal(result.scores, wanted.scores)
        np.testing.assert_array_equal(result.masks, wanted.masks)
    assert functions.calls["vision_encoder"] == encoded + 4


def test_mistakes_are_told_before_the_picture_is_encoded(model, picture, functions):
    for arguments in (
        {},
        {"text": " "},
        {"text": "dog", "threshold": 2},
        {"text": "dog", "boxes": [[0, 0, 1, 1]] * 65},
        {"text": "dog", "boxes": [[70, 0, 80, 1]]},
    ):
        with pytest.raises(PromptError):
            model.segment(picture, **arguments)
    with pytest.raises(ImageError):
        model.segment("/no/such/picture.png", "dog")
    assert not functions.calls


def test_one_result_for_a_phrase_and_a_list_for_a_list(model, image):
    assert isinstance(model.segment(image, "dog"), sam3_tvm.Result)
    for phrases in (["dog"], ("dog",)):
        (result,) = model.segment(image, phrases)
        assert result.text == "dog"


def test_several_pictures_give_what_each_gives_by_itself(model, picture, tmp_path):
    other = np.asarray(picture)[::-1].copy()
    alone = [model.segment(one, "dog", threshold=0.2) for one in (picture, other)]
    encoded = model.encode_image([picture, other])
    for pictures in ([picture, other], (picture, other), encoded, [picture, encoded[1]]):
        together = model.segment(pictures, "dog", threshold=0.2)
        assert [len(r) for r in together] == [len(r) for r in alone]
        for ours, theirs in zip(together, alone, strict=True):
            np.testing.assert_array_equal(ours.boxes, theirs.boxes)
    nested = model.segment([picture, other], ["dog", "cat"], threshold=0.2)
    assert [[r.text for r in of_one] for of_one in nested] == [["dog", "cat"]] * 2


def test_a_list_of_pictures_that_could_mean_another_thing_is_refused(model, picture):
    pictures = [picture, picture]
    for wrong in ({"boxes": [1, 1, 9, 9]}, {"text": "dog", "boxes": [[1, 1, 9, 9]]}):
        with pytest.raises(PromptError, match="in one picture's pixels: give one picture a call"):
            model.segment(pictures, **wrong)
    with pytest.raises(PromptError, match="several pictures take text"):
        model.segment(pictures)
    for numbers in ([[0, 1], [2, 3]], [0.5, 0.5], (1,)):
        with pytest.raises(ImageError, match="of numbers is no picture: make an array of it"):
            model.segment(numbers, "dog")
    with pytest.raises(ImageError, match="an empty list holds no picture"):
        model.encode_image([])
    with pytest.raises(ImageError, match="give one picture a call here"):
        model.click(pictures, [[1, 1]])


def test_progress_is_reported_as_steps_begin(model, picture):
    steps = []
    model.segment(picture, PHRASES[:9], threshold=0.2, progress=lambda *step: steps.append(step))
    assert steps[:3] == [("picture", 0, 9), ("detect", 0, 9), ("masks", 0, 9)]
    assert [s for s in steps if s[0] == "detect"] == [("detect", 0, 9), ("detect", 8, 9)]
    assert steps[-1] == ("masks", 8, 9)


def test_extreme_logits_give_scores_without_warnings(model, image, functions, recwarn):
    functions.scoring = lambda *_: np.array([[-1e4, 0.0, 1e4]], np.float32)
    functions.detr_decoder = lambda memory, *_: (
        np.zeros((1, 3, 4), np.float32), np.full((1, 3, 4), 0.5, np.float32),
        np.array([[100.0]], np.float32),
    )  # fmt: skip
    result = model.segment(image, "dog", threshold=0)
    np.testing.assert_allclose(result.scores, [1, 0.5])
    assert not recwarn.list


def test_threads_share_a_model(toy_artifact, picture):
    # The toy refuses to be entered twice, and is slow enough for calls to queue up.
    functions = toy.ToyFunctions(delay=0.002)
    model = toy.make_model(toy_artifact, functions)
    image = model.encode_image(picture)
    phrases = ["dog", "cat", "ball", "red dog"] * 6
    start = threading.Barrier(6)

    def work(phrase):
        if work.waiting:
            start.wait(10)
        result = model.segment(image, phrase, BOX, threshold=0.1)
        return phrase, result.scores, result.masks

    work.waiting = True
    with ThreadPoolExecutor(6) as threads:
        first = list(threads.map(work, phrases[:6]))
        work.waiting = False
        done = first + list(threads.map(work, phrases[6:]))
    for phrase, scores, masks in done:
        _, wanted_scores, _, wanted_masks = expected(model, image, phrase, BOX, [1], 0.1)
        np.testing.assert_allclose(scores, wanted_scores, rtol=1e-5)
        np.testing.assert_array_equal(masks, wanted_masks)
    # Two threads may both find a phrase missing, but not once it is there.
    assert 4 <= functions.calls["text_encoder"] <= 6


def test_functions_that_break_their_word_are_caught(toy_artifact):
    def broken(name, inputs):
        outputs = toy.ToyFunctions()(name, inputs)
        return [outputs[0].astype(np.float64), *outputs[1:]]

    table = FunctionTable(toy.COMPONENTS, broken)
    inputs = np.zeros((1, 6), np.int64), np.ones((1, 6), np.int64)
    with pytest.raises(AbiError, match=r"text_features.* came out as float64"):
        table("text_encoder", *inputs)
    few = FunctionTable(toy.COMPONENTS, lambda *_: [])
    with pytest.raises(AbiError, match="gave 0 outputs instead of 1"):
        few("text_encoder", *inputs)
    other = FunctionTable(toy.COMPONENTS, lambda *_: [np.zeros((2, 6, 4), np.float32)])
    with pytest.raises(AbiError, match="came out as"):
        other("text_encoder", *inputs)


def test_results_of_a_large_picture_come_mask_by_mask(model):
    # 96 million pixels: a float copy of three masks would be a gigabyte.
    large = np.broadcast_to(np.uint8(90), (8000, 12000, 3))
    sizes = []
    resize = model._detector._resize_masks

    def watched(logits, size):
        sizes.append(len(logits))
        return np.broadcast_to(resize(logits, (8, 8))[:, :1, :1], (len(logits), *size))

    image = model.encode_image(large)
    assert image.size == (8000, 12000)
    result = model.segment(image, "dog", threshold=0)
    result._masks._resize = watched
    areas = [entry["area"] for entry in result.to_coco()]
    assert sizes == [1, 1, 1]
    assert all(area in (0, 96_000_000) for area in areas)
    assert result._masks._made is None


def test_a_picture_of_one_pixel_works(model):
    result = model.segment(np.zeros((1, 1, 3), np.uint8), "dog", [[0, 0, 1, 1]], threshold=0)
    assert result.masks.shape == (3, 1, 1)
    assert result.overlay().size == (1, 1)


class TestSavedImages:
    def test_they_come_back_bit_for_bit(self, model, image, tmp_path):
        image.save(tmp_path / "i.safetensors")
        again = model.load_image(tmp_path / "i.safetensors")
        assert again.size == image.size
        assert list(again.features) == list(image.features)
        for name, want in image.features.items():
            np.testing.assert_array_equal(again.features[name], want)
        wanted, result = (model.segment(i, "dog", threshold=0) for i in (image, again))
        np.testing.assert_array_equal(result.masks, wanted.masks)
        assert result.scores.tobytes() == wanted.scores.tobytes()

    def test_another_artifacts_are_refused(self, model, image, tmp_path, functions):
        image.save(tmp_path / "i.safetensors")
        other = sam3_tvm.Model(model._call, model._detector._tokenize, model.manifest, "another")
        with pytest.raises(ImageError, match=r"i\.safetensors: was encoded by another artifact"):
            other.load_image(tmp_path / "i.safetensors")
        with pytest.raises(ImageError, match="another artifact"):
            other.segment(image, "dog")

    def test_other_files_are_refused(self, model, image, tmp_path):
        from safetensors.numpy import save_file

        with pytest.raises(ImageError, match="no such file"):
            model.load_image(tmp_path / "absent")
        (tmp_path / "text").write_text("no tensors")
        with pytest.raises(ImageError, match="damaged"):
            model.load_image(tmp_path / "text")
        save_file({"a": np.zeros(2)}, tmp_path / "tensors")
        with pytest.raises(ImageError, match="no encoded image"):
            model.load_image(tmp_path / "tensors")
        image.save(tmp_path / "cut")
        (tmp_path / "cut").write_bytes((tmp_path / "cut").read_bytes()[:-8])
        with pytest.raises(ImageError, match="damaged"):
            model.load_image(tmp_path / "cut")
        with pytest.raises(ImageError, match="cannot be written"):
            image.save(tmp_path / "no" / "folder")

    def test_they_need_the_picture_to_draw_on(self, model, image, picture, tmp_path):
        image.save(tmp_path / "i")
        result = model.segment(model.load_image(tmp_path / "i"), "dog", threshold=0)
        with pytest.raises(ImageError, match="pass it to overlay"):
            result.overlay()
        assert result.overlay(picture).size == SIZE[::-1]
        with pytest.raises(ImageError, match="is 3x2, the one that was encoded 60x40"):
            result.overlay(np.zeros((2, 3, 3), np.uint8))


def test_load_checks_the_artifact_and_the_machine(compiled, picture, tmp_path):
    model = sam3_tvm.load(compiled.path, threads=2, integrity="full")
    assert repr(model) == "Model(random:toy from transformers, for this machine)"
    image = model.encode_image(picture)
    wanted = expected(model, image, "dog", BOX, [1], 0.1)
    assert_same(model.segment(image, "dog", BOX, threshold=0.1), wanted)
    with pytest.raises(ArtifactError, match="does not exist"):
        sam3_tvm.load(tmp_path / "absent")
    target = dataclasses.replace(toy.host_target(), cpu_features=("NO_SUCH_FEATURE",))
    elsewhere = toy.write_artifact(tmp_path / "elsewhere", target=target)
    with pytest.raises(ArtifactError, match="lacks NO_SUCH_FEATURE"):
        sam3_tvm.load(elsewhere.path)


class TestKeptPictures:
    def test_an_array_that_its_owner_uses_again_is_drawn_as_it_was(self, model, picture):
        buffer = picture.copy()
        result = model.segment(buffer, "dog", threshold=0)
        clicked = np.asarray(result.overlay())
        buffer[:] = 0
        np.testing.assert_array_equal(np.asarray(result.overlay()), clicked)

    def test_a_file_is_found_again_from_another_folder(self, model, picture, tmp_path, monkeypatch):
        (tmp_path / "other").mkdir()
        Image.fromarray(picture).save(tmp_path / "p.png")
        Image.fromarray(255 - picture).save(tmp_path / "other" / "p.png")
        monkeypatch.chdir(tmp_path)
        result = model.segment("p.png", "dog", threshold=0)
        drawn = np.asarray(result.overlay())
        monkeypatch.chdir(tmp_path / "other")
        np.testing.assert_array_equal(np.asarray(result.overlay()), drawn)
        Image.fromarray(255 - picture).save(tmp_path / "p.png")
        with pytest.raises(ImageError, match="has changed since it was encoded; pass the picture"):
            result.overlay()
        (tmp_path / "p.png").unlink()
        with pytest.raises(ImageError, match=r"no such file.* or pass the picture to overlay"):
            result.overlay()

    def test_what_is_kept_can_go_to_another_process(self, image, picture):
        kept = pickle.loads(pickle.dumps(image.picture))
        np.testing.assert_array_equal(kept.read(), picture)


def test_a_phrase_that_is_cut_says_so(model, image):
    phrase = "dog cat ball red dog cat"
    with pytest.warns(sam3_tvm.PhraseWarning, match="searched is 'dog cat ball red' alone") as said:
        result = model.segment(image, phrase, threshold=0)
    assert said[0].filename == __file__
    assert (result.text, result[:1].text_read) == (phrase, "dog cat ball red")
    assert model.segment(image, "dog").text_read == "dog"


def test_nms_is_done_to_each_prompts_result_and_only_where_it_is_asked_for(model, picture):
    texts = ["dog", "cat ball"]
    plain = model.segment(picture, texts, threshold=0)
    cut = model.segment(picture, texts, threshold=0, nms=0.1)
    assert cut == [result.nms(0.1) for result in plain]
    assert sum(map(len, cut)) < sum(map(len, plain))
    assert model.segment([picture], texts, threshold=0, nms=0.1) == [cut]
    assert model.segment(picture, "dog", threshold=0, nms=0.1) == cut[0]


def test_an_nms_that_cannot_be_is_refused_before_the_picture_is_looked_at(model):
    with pytest.raises(PromptError, match="0 to 1, not 2"):
        model.segment("absent.png", "dog", nms=2)
