"""The tab for a film, used as people do."""

from __future__ import annotations

import io
import json
import re
import shutil

import av

from tests.serve.page.conftest import EXAMPLES
from tests.serve.page.test_page_picture import expect


def opened(page) -> None:
    page.locator("#tab-film").click()
    page.set_input_files("#film-pick", EXAMPLES / "film.mp4")
    expect(page.locator("#seek")).to_be_enabled()
    expect(page.locator("#film-canvas")).to_be_visible()


def follow(page) -> None:
    page.get_by_role("button", name="Follow", exact=True).click()
    expect(page.locator("#status")).to_contain_text("Done: 48 frames.")


def test_a_phrase_is_followed_and_taken_away(page):
    opened(page)
    page.locator("#film-phrase").fill("red star")
    page.locator("#film-phrase").press("Enter")
    follow(page)
    expect(page.locator("#film-objects")).to_contain_text("red star")
    page.locator("#seek").fill("40")
    expect(page.locator("#place")).to_contain_text("40 of 47")
    with page.expect_download() as download:
        page.get_by_role("button", name="Masks (JSON lines)").click()
    lines = [json.loads(line) for line in download.value.path().read_text().splitlines()]
    assert [line["frame"] for line in lines] == list(range(48))
    assert any(one["phrase"] == "red star" for line in lines for one in line["objects"])
    with page.expect_download() as download:
        page.get_by_role("button", name="Film with masks (MP4)").click()
    with av.open(io.BytesIO(download.value.path().read_bytes())) as film:
        assert sum(1 for _ in film.decode(video=0)) == 48


def test_a_click_is_followed_corrected_on_a_frame_and_undone(page):
    opened(page)
    canvas = page.locator("#film-canvas")
    canvas.click(position={"x": 100, "y": 100})
    expect(page.locator("#film-prompts li")).to_have_text(["object 1 on frame 0×"])
    page.locator("#seek").fill("12")
    expect(page.locator("#place")).to_contain_text("12 of 47")
    page.get_by_role("radio", name="Beside it").check()
    canvas.click(position={"x": 30, "y": 30})
    expect(page.locator("#film-prompts li")).to_have_count(2)
    with page.expect_request("**/track") as sent:
        follow(page)
    first, second = json.loads(sent.value.post_data)["objects"]
    assert (first["id"], first["frame"], len(first["points"])) == (1, 0, 1)
    assert (second["id"], second["frame"], len(second["negative_points"])) == (1, 12, 1)
    expect(page.locator("#film-objects li")).to_have_count(1)
    page.locator("#film-undo").click()
    expect(page.locator("#film-prompts li")).to_have_count(1)


def test_a_film_is_stopped_on_its_way(page):
    opened(page)
    page.locator("#film-phrase").fill("red star")
    page.locator("#film-phrase").press("Enter")
    page.locator("#live").check()
    page.get_by_role("button", name="Follow", exact=True).click()
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#status")).to_contain_text("Stopped:")
    expect(page.locator("#following")).to_be_hidden()


def test_a_film_that_is_chosen_while_another_is_sent_takes_its_place(page, tmp_path):
    for name in ("first.mp4", "second.mp4"):
        shutil.copy(EXAMPLES / "film.mp4", tmp_path / name)
    page.locator("#tab-film").click()
    page.route("**/v1/videos", lambda route: None, times=1)  # it is sent for ever
    with page.expect_request("**/v1/videos"):
        page.set_input_files("#film-pick", tmp_path / "first.mp4")
    expect(page.locator("#sending")).to_be_visible()
    with page.expect_event("requestfailed") as given_up:
        page.set_input_files("#film-pick", tmp_path / "second.mp4")
    assert given_up.value.url.endswith("/v1/videos")
    expect(page.locator("#film-canvas")).to_have_attribute("aria-label", re.compile("second.mp4"))
    expect(page.locator("#sending")).to_be_hidden()
    expect(page.get_by_role("alert").first).to_be_hidden()


def test_what_came_of_a_film_is_left_when_another_is_chosen(page):
    opened(page)
    held = []
    lines = "".join(f'{{"frame": {n}, "objects": []}}\n' for n in (1, 2, 3))
    page.route("**/track", lambda route: route.fulfill(body=lines))  # all lines at once
    page.route("**/frames/1", lambda route: held.append(route))
    page.route("**/v1/videos", lambda route: None)
    page.locator("#film-phrase").fill("red star")
    page.locator("#film-phrase").press("Enter")
    with page.expect_request("**/frames/1"):
        page.get_by_role("button", name="Follow", exact=True).click()
    page.set_input_files("#film-pick", EXAMPLES / "film.mp4")
    expect(page.locator("#sending")).to_be_visible()
    held[0].continue_()
    expect(page.locator("#status")).to_contain_text("Stopped:")
    expect(page.get_by_role("alert").first).to_be_hidden()


def test_what_is_no_film_is_said_to_be_none(page, tmp_path):
    (tmp_path / "no.mp4").write_bytes(b"no film at all")
    page.locator("#tab-film").click()
    page.set_input_files("#film-pick", tmp_path / "no.mp4")
    expect(page.get_by_role("alert").first).to_contain_text("the film")
    expect(page.locator("#follow")).to_be_disabled()
