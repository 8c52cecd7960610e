"""The tab for a picture, used as people do."""

from __future__ import annotations

import base64
import json
import re

import numpy as np
import pytest
from PIL import Image

from tests.serve.page.conftest import EXAMPLES, serving


def expect(locator):
    from playwright.sync_api import expect

    return expect(locator)


def opened(page, name: str = "hexagons.jpg"):
    page.set_input_files("#pick", EXAMPLES / name)
    # What shows that it is encoded is hidden before it begins, too.
    expect(page.locator("#status")).to_contain_text("The picture is ready")
    return page.locator("#picture-canvas")


def find(page, phrase: str) -> None:
    page.get_by_label("Phrase").first.fill(phrase)
    page.get_by_role("button", name="Find", exact=True).click()


def at(page, x: int, y: int) -> dict[str, float]:
    """Where a pixel of a picture of 384 x 384 is on the canvas."""
    box = page.locator("#picture-canvas").bounding_box()
    return {"x": (x + 0.5) * box["width"] / 384, "y": (y + 0.5) * box["height"] / 384}


def asked(page) -> list[tuple[str, dict]]:
    """Fills with what the page asks, from now on."""
    found: list[tuple[str, dict]] = []

    def note(request):
        if request.method == "POST" and request.url.endswith(("/segment", "/click")):
            found.append((request.url.rpartition("/")[2], json.loads(request.post_data)))

    page.on("request", note)
    return found


def drag(page, x0: int, y0: int, x1: int, y1: int) -> None:
    canvas = page.locator("#picture-canvas").bounding_box()
    for number, (x, y) in enumerate([(x0, y0), (x1, y1)]):
        place = at(page, x, y)
        page.mouse.move(canvas["x"] + place["x"], canvas["y"] + place["y"], steps=4)
        page.mouse.up() if number else page.mouse.down()


def objects(page):
    return page.locator("#objects li")


def test_a_phrase_finds_objects_and_the_threshold_asks_nothing(page):
    opened(page)
    requests = asked(page)
    find(page, "green hexagon")
    expect(page.locator("#found-count")).to_contain_text("found")
    found = objects(page).count()
    assert found >= 2
    assert requests == [
        (
            "segment",
            {"phrases": ["green hexagon"], "boxes": [], "negative_boxes": [], "threshold": 0.05},
        )
    ]
    page.locator("#threshold").fill("0.9")
    expect(page.locator("#threshold-value")).to_have_text("0.90")
    assert 0 < objects(page).count() < found
    page.locator("#threshold").fill("0.5")
    assert objects(page).count() == found
    # Going back and forth shows what is known.
    page.locator("#undo").click()
    expect(objects(page)).to_have_count(0)
    page.locator("#redo").click()
    expect(objects(page)).to_have_count(found)
    assert len(requests) == 1


def test_boxes_alike_and_unlike_are_examples(page):
    opened(page, "stars.jpg")
    requests = asked(page)
    page.get_by_role("radio", name="Find alike").check()
    drag(page, 64, 20, 179, 132)
    expect(page.locator("#found-count")).to_contain_text("found")
    page.get_by_role("radio", name="Not alike").check()
    drag(page, 20, 20, 60, 60)
    expect(page.locator("#prompts li")).to_have_count(2)
    page.get_by_role("button", name="Remove not alike 1").click()
    expect(page.locator("#prompts li")).to_have_count(1)
    (name, first), (_, second) = requests[:2]
    assert name == "segment"
    assert first["boxes"][0] == pytest.approx([64, 20, 180, 133], abs=2)
    assert len(second["negative_boxes"]) == 1


def test_clicks_refine_are_undone_and_kept(page):
    opened(page)
    requests = asked(page)
    canvas = page.locator("#picture-canvas")
    canvas.click(position=at(page, 95, 155))
    expect(page.locator("#click-about")).to_contain_text("1 click; mask")
    page.get_by_role("radio", name="Beside it").check()
    canvas.click(position=at(page, 20, 20))
    expect(page.locator("#click-about")).to_contain_text("2 clicks; mask 1 of 1")
    page.keyboard.press("Control+z")
    expect(page.locator("#click-about")).to_contain_text("1 click; mask")
    page.keyboard.press("Control+Shift+Z")
    expect(page.locator("#click-about")).to_contain_text("2 clicks; mask")
    assert [name for name, _ in requests] == ["click", "click"]
    assert requests[1][1]["points"][0] == pytest.approx([95, 155], abs=1)
    assert requests[1][1]["negative_points"][0] == pytest.approx([20, 20], abs=1)
    page.locator("#keep").click()
    name = page.get_by_label("Name of object 1")
    name.fill("the big one")
    name.press("Enter")
    expect(page.get_by_label("Name of the big one")).to_have_value("the big one")
    page.get_by_role("button", name="Remove the big one").click()
    expect(objects(page)).to_have_count(0)


def test_a_click_that_means_several_things_shows_one_after_the_other(page):
    opened(page)
    requests = asked(page)
    page.locator("#picture-canvas").click(position=at(page, 95, 155))
    about = page.locator("#click-about")
    expect(about).to_have_text(re.compile(r"mask \d of 3"))
    seen = set()
    for _ in range(3):
        seen.add(about.text_content())
        page.get_by_role("button", name="Next mask").click()
    assert len(seen) == 3
    assert len(requests) == 1


@pytest.mark.parametrize("way", ["drop", "paste"])
def test_a_picture_is_dropped_or_pasted(page, way):
    content = base64.b64encode((EXAMPLES / "hexagons.jpg").read_bytes()).decode()
    page.evaluate(
        """([way, content]) => {
          const bytes = Uint8Array.from(atob(content), (one) => one.charCodeAt(0));
          const data = new DataTransfer();
          data.items.add(new File([bytes], "brought.jpg", {type: "image/jpeg"}));
          const about = {bubbles: true, cancelable: true};
          if (way === "drop") document.getElementById("picture-drop").dispatchEvent(
            new DragEvent("drop", {...about, dataTransfer: data}));
          else document.dispatchEvent(new ClipboardEvent("paste", {...about, clipboardData: data}));
        }""",
        [way, content],
    )
    expect(page.locator("#status")).to_contain_text("The picture is ready, 384 by 384 pixels.")
    expect(page.locator("#picture-name")).to_have_text("brought.jpg")


def test_all_of_it_is_done_by_keys(page):
    canvas = opened(page)
    requests = asked(page)
    canvas.focus()
    page.keyboard.press("ArrowLeft")  # the cursor comes to the middle
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Shift+ArrowUp")
    page.keyboard.press("Enter")
    expect(page.locator("#click-about")).to_contain_text("1 click; mask")
    assert requests[0][1]["points"] == [[182, 191]]
    page.keyboard.press("4")
    expect(page.locator("#status")).to_have_text("Pointer: Find alike.")
    page.keyboard.press("Space")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    expect(page.locator("#status")).to_contain_text("192, 201:")
    page.keyboard.press("Space")
    expect(page.locator("#prompts li")).to_have_text("alike 1×")
    # A second's worth of quiet isn't waited for: the request is what counts.
    expect(page.locator("#found-count")).to_contain_text("candidates")
    assert requests[-1][1]["boxes"] == [[182, 191, 193, 202]]
    page.locator("#tab-picture").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#film")).to_be_visible()


@pytest.mark.parametrize("form", ["coco", "yolo", "yolo.zip", "geojson", "png"])
def test_what_is_shown_is_taken_away(page, server, form):
    opened(page)
    find(page, "green hexagon")
    expect(page.locator("#found-count")).to_contain_text("found")
    count = objects(page).count()
    page.get_by_role("checkbox", name="Show green hexagon").first.uncheck()
    page.locator("#format").select_option(form)
    with page.expect_request("**/v1/export/*") as sent, page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    made = download.value.path().read_bytes()
    body = json.loads(sent.value.post_data)
    assert len(body["objects"]) == count - 1
    again = page.request.post(f"{server}/v1/export/{form}", data=body)
    assert again.body() == made
    if form == "coco":
        data = json.loads(made)
        assert data["categories"] == [{"id": 1, "name": "green hexagon"}]
        assert data["images"][0]["file_name"] == "hexagons.jpg"
        assert len(data["annotations"]) == count - 1
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page.get_by_role("button", name="Copy").click()
        expect(page.locator("#status")).to_contain_text("Copied.")
        assert page.evaluate("navigator.clipboard.readText()") == made.decode()


def test_what_is_shown_is_taken_away_as_drawn_on_the_picture(page):
    opened(page)
    find(page, "green hexagon")
    expect(page.locator("#found-count")).to_contain_text("found")
    page.locator("#format").select_option("overlay")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    assert download.value.suggested_filename == "hexagons.drawn.png"
    with Image.open(download.value.path()) as drawn, Image.open(EXAMPLES / "hexagons.jpg") as file:
        assert (drawn.format, drawn.size) == ("PNG", file.size)
        change = np.abs(np.asarray(drawn.convert("RGB"), int) - np.asarray(file.convert("RGB")))
    # Objects cover some of it, and the rest is the picture's own.
    assert 0.02 < (change.max(2) > 16).mean() < 0.6
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy").click()
    expect(page.locator("#status")).to_contain_text("Copied.")
    kinds = "navigator.clipboard.read().then((all) => all.flatMap((one) => one.types))"
    assert page.evaluate(kinds) == ["image/png"]


def test_prompts_are_prepared_while_a_picture_is_encoded(page):
    held = []
    page.route("**/v1/images", lambda route: held.append(route))
    page.set_input_files("#pick", EXAMPLES / "outlines.jpg")
    expect(page.locator("#encoding-text")).to_contain_text("Encoding the picture: about")
    find(page, "hexagon")
    expect(page.locator("#objects-none")).to_have_text("Asked as soon as the picture is encoded.")
    page.locator("#picture-canvas").click(position=at(page, 100, 100))
    held[0].continue_()
    expect(page.locator("#found-count")).to_contain_text("found")
    expect(page.locator("#click-about")).to_contain_text("mask")


def test_errors_are_said_in_the_servers_words(page, tmp_path):
    (tmp_path / "no.png").write_bytes(b"no picture at all")
    page.set_input_files("#pick", tmp_path / "no.png")
    alert = page.get_by_role("alert").first
    expect(alert).to_contain_text("picture")
    page.get_by_role("button", name="Close this message").click()
    expect(alert).to_be_hidden()
    opened(page)
    page.context.set_offline(True)
    find(page, "green hexagon")
    expect(alert).to_contain_text("the server cannot be reached")


def test_a_picture_that_the_server_forgot_is_sent_again(page, server):
    opened(page)
    with page.expect_response("**/segment") as said:
        find(page, "black hexagon")
    name = said.value.url.split("/")[-2]
    expect(page.locator("#found-count")).to_contain_text("found")
    assert page.request.delete(f"{server}/v1/images/{name}").status == 204
    find(page, "blue star")
    expect(page.locator("#prompts li")).to_have_count(2)
    expect(page.locator("#objects")).to_contain_text("blue star")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_scrolls_in_one_direction_only(new_page, server, scheme):
    page = new_page(
        server,
        viewport={"width": 360, "height": 740},
        has_touch=True,
        is_mobile=True,
        color_scheme=scheme,
    )
    page.get_by_text("ready").wait_for()
    opened(page)
    find(page, "green hexagon with a rather long name that goes on and on")
    find(page, "green hexagon")
    expect(page.locator("#objects")).to_contain_text("green hexagon")
    page.locator("#picture-canvas").tap(position=at(page, 95, 155))
    expect(page.locator("#click-about")).to_contain_text("mask")
    for tab in ("#tab-picture", "#tab-film"):
        page.locator(tab).click()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_every_control_has_a_name(page):
    opened(page)
    find(page, "green hexagon")
    expect(page.locator("#found-count")).to_contain_text("found")
    nameless = page.evaluate(
        "() => [...document.querySelectorAll('button, input, select, canvas')].filter(e =>"
        " !e.ariaLabel && !e.textContent.trim() && ![...(e.labels ?? [])].some(l =>"
        " l.textContent.trim())).map(e => e.outerHTML)"
    )
    assert nameless == []


def test_a_token_is_asked_for_and_kept_in_the_tab(new_page, shapes_artifact):
    with serving(shapes_artifact, "--token", "open-sesame") as url:
        page = new_page(url)
        dialog = page.get_by_role("dialog")
        for token in ("wrong", "open-sesame"):
            dialog.get_by_label("Token").fill(token)
            with page.expect_response("**/v1"):
                dialog.get_by_role("button", name="Go on").click()
        expect(page.locator("#server")).to_contain_text("ready")
        expect(dialog).to_be_hidden()
        page.reload()
        expect(page.locator("#server")).to_contain_text("ready")
