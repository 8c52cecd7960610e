"""Films over HTTP."""

from __future__ import annotations

import asyncio
import gc
import json
import os

import pytest

from sam3_tvm.film.frame import to_line
from sam3_tvm.serve import Limits
from sam3_tvm.serve.following import Following
from tests.cli.track_helpers import masks
from tests.serve.conftest import Asked, until

SHOWN = {"objects": [{"id": 1, "points": [[18, 34]]}, {"id": 2, "points": [[115, 75]]}]}


@pytest.fixture
def film(client, film_file) -> str:
    """The path of a film that was sent."""
    return client.post("/v1/videos", content=film_file).headers["location"]


def lines(answer) -> list[dict]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    return [json.loads(line) for line in answer.text.splitlines()]


def folder_of(client):
    return client.app.state.service.films._folder.name


def test_a_film_is_taken_as_the_body_or_in_a_form(client, film_file):
    first = client.post("/v1/videos", content=film_file)
    second = client.post("/v1/videos", files={"file": ("a.mp4", film_file)})
    assert first.status_code == second.status_code == 201
    about = first.json()
    assert about["frames"] == 12
    assert about["id"] != second.json()["id"]
    assert client.get(first.headers["location"]).json() == about
    assert len(os.listdir(folder_of(client))) == 2


def test_a_film_is_gone_with_its_id_and_all_with_the_server(serving, film_file):
    with serving() as client:
        path = client.post("/v1/videos", content=film_file).headers["location"]
        client.post("/v1/videos", content=film_file)
        assert client.delete(path).status_code == 204
        assert client.get(path).status_code == client.delete(path).status_code == 404
        folder = folder_of(client)
        assert len(os.listdir(folder)) == 1
    assert not os.path.exists(folder)


def test_what_is_no_film_is_refused_without_its_place_here_and_leaves_nothing(client):
    answer = client.post("/v1/videos", content=b"no film")
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("the film: cannot be read as a video")
    assert client.post("/v1/videos", content=b"").status_code == 422
    assert not os.listdir(folder_of(client))


def test_films_have_limits_of_number_size_and_pixels(serving, film_file):
    with serving(Limits(films=1)) as client:
        assert client.post("/v1/videos", content=film_file).status_code == 201
        full = client.post("/v1/videos", content=film_file)
        assert full.status_code == 429
        assert full.headers["retry-after"]
        for kept in client.app.state.service.films._kept.values():
            kept.used -= 1000
        assert client.post("/v1/videos", content=film_file).status_code == 201
    with serving(Limits(film_bytes=100)) as client:
        assert client.post("/v1/videos", content=film_file).status_code == 413
    with serving(Limits(pixels=100)) as client:
        answer = client.post("/v1/videos", content=film_file)
        assert answer.status_code == 413
        assert "more than the 100 pixels" in answer.json()["detail"]
        assert not os.listdir(folder_of(client))


def test_lines_are_those_of_track(client, model, film):
    found = client.post(f"{film}/track", json=SHOWN)
    assert [one["frame"] for one in lines(found)] == list(range(12))
    session = model.sessions[-1]
    session.frames = session.frames.__class__(client.app.state.service.films.get(film[-32:]).path)
    expected = [to_line(one, session.frames.fps) for one in session.propagate(0)]
    assert found.text.splitlines() == expected


@pytest.mark.parametrize(
    ("asked", "frames"),
    [
        ({"direction": "backward", "start": 3}, [0, 1, 2, 3]),
        ({"frames": 3}, [0, 1, 2]),
        ({"start": 4, "frames": 2}, [4, 5]),
    ],
)
def test_which_frames_are_passed(client, film, asked, frames):
    shown = {"objects": [{"id": 1, "points": [[18, 34]], "frame": asked.get("start", 0)}]}
    found = lines(client.post(f"{film}/track", json={**shown, **asked}))
    assert [one["frame"] for one in found] == frames


def test_both_directions_come_in_the_films_order(client, film):
    shown = {"objects": [{"id": 1, "points": [[18, 34]], "frame": 5}]}
    asked = {**shown, "direction": "both", "frames": 3}
    found = lines(client.post(f"{film}/track", json=asked))
    assert [one["frame"] for one in found] == [2, 3, 4, 5, 6, 7]
    assert all(masks(one)[1].any() for one in found)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({}, "nothing to follow"),
        ({"live": True, **SHOWN}, "live is for phrases"),
        ({"objects": [{"id": 1}]}, "give a box or points"),
        ({"objects": [{"id": 1, "negative_points": [[1, 1]]}]}, "negative points alone"),
        ({"objects": SHOWN["objects"][:1] * 2}, "is shown twice"),
        ({"objects": [{"id": 1, "points": [[1, 1]], "frame": 99}]}, "the film has 12 frames"),
        ({"objects": [{"id": 1, "points": [[999, 1]]}]}, "lies outside the frames"),
        ({"objects": [{"id": 1, "points": [[1, 1]], "frame": 5}], "start": 2}, "no object is"),
        ({**SHOWN, "start": 4, "direction": "both"}, "leave start out"),
        ({"phrases": ["dog"], "direction": "both"}, "give start"),
        (
            {
                "objects": [*SHOWN["objects"], {"id": 2, "box": [1, 1, 9, 9], "frame": 9}],
                "frames": 3,
            },
            "don't come to",
        ),
        ({"objects": [{"id": 0, "points": [[1, 1]]}]}, "objects.0.id: "),
        ({"direction": "up", **SHOWN}, "direction: "),
    ],
)
def test_what_cannot_be_followed_is_refused_before_the_first_line(client, model, film, asked, said):
    answer = client.post(f"{film}/track", json=asked)
    assert answer.status_code == 422
    assert said in answer.json()["detail"]
    assert not model.calls


def test_a_request_passes_no_more_frames_than_it_may(serving, film_file):
    with serving(Limits(frames=5)) as client:
        film = client.post("/v1/videos", content=film_file).headers["location"]
        answer = client.post(f"{film}/track", json=SHOWN)
        assert answer.status_code == 422
        assert "would pass 12 frames, of which a request may pass 5" in answer.json()["detail"]
        assert len(lines(client.post(f"{film}/track", json={**SHOWN, "frames": 5}))) == 5


def test_what_goes_wrong_on_the_way_is_a_last_line(client, model, film):
    def watch(index: int) -> None:
        if index == 3:
            raise RuntimeError("secret")

    model._call = lambda name: watch(int(name.removeprefix("frame ")))
    *found, last = lines(client.post(f"{film}/track", json=SHOWN))
    assert [one["frame"] for one in found] == [0, 1, 2]
    assert last["error"]["status"] == 500
    assert "secret" not in last["error"]["detail"]


def test_a_film_that_takes_too_long_ends_with_a_line_that_says_so(serving, film_file):
    with serving(Limits(film_seconds=0.0)) as client:
        film = client.post("/v1/videos", content=film_file).headers["location"]
        *found, last = lines(client.post(f"{film}/track", json=SHOWN))
    assert [one["frame"] for one in found] == [0]
    assert "longer than 0 s" in last["error"]["detail"]


def test_a_client_that_reads_nothing_holds_no_thread_for_ever(on_loop, model, film_file):
    class Stalls(Asked):
        async def _send(self, message) -> None:
            await super()._send(message)
            if message.get("body"):
                await self.left.wait()

    async def check(app) -> None:
        film = sent(app, film_file)
        await film.task
        track = f"{film.headers[b'location'].decode()}/track"
        stalls = Stalls(app, track, json.dumps(SHOWN).encode())
        await stalls.came.wait()
        every = (one for one in gc.get_objects() if isinstance(one, Following))
        (following,) = (one for one in every if one._model is model)
        await until(lambda: following._thread.done())
        stalls.left.set()
        await stalls.task

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sam3_tvm.serve.following._AHEAD", 2)
        on_loop(check, Limits(film_seconds=1.0))


def sent(app, film_file) -> Asked:
    return Asked(app, "/v1/videos", film_file)


def test_clicks_pass_within_a_frame_and_pictures_between_two(on_loop, model, film_file, file):
    async def check(app) -> None:
        film, picture = sent(app, film_file), Asked(app, "/v1/images", file())
        await asyncio.gather(film.task, picture.task)
        model.calls.clear()
        model.gate.clear()
        track = f"{film.headers[b'location'].decode()}/track"
        follows = Asked(app, track, json.dumps(SHOWN).encode())
        await until(lambda: model.calls)
        path = f"{picture.headers[b'location'].decode()}/click"
        click = Asked(app, path, b'{"points": [[1, 1]]}')
        other = Asked(app, "/v1/images", file(1))
        await until(lambda: len(model.calls) == 2 and app.state.service.turns._heap)
        model.gate.set()
        await asyncio.gather(follows.task, click.task, other.task)
        assert follows.body.count(b"\n") == 12
        frames = [f"frame {n}" for n in range(13)]
        assert model.calls == [frames[0], "click", "encode", *frames[1:]]

    on_loop(check)


def test_a_film_is_followed_no_further_when_its_client_goes(on_loop, model, film_file):
    async def check(app) -> None:
        film = sent(app, film_file)
        await film.task
        model.calls.clear()
        track = f"{film.headers[b'location'].decode()}/track"
        follows = Asked(app, track, json.dumps(SHOWN).encode())
        await until(lambda: model.calls)
        model.gate.clear()
        await follows.came.wait()
        passed = len(model.calls)
        follows.left.set()
        await asyncio.sleep(0.05)
        model.gate.set()
        await follows.task
        assert len(model.calls) <= passed + 2
        (kept,) = app.state.service.films._kept.values()
        assert kept.users == 0
        # Its turn and its place are free again.
        again = Asked(app, track, json.dumps(SHOWN).encode())
        await again.task
        assert again.body.count(b"\n") == 12

    on_loop(check, Limits(films_followed=1))


def test_a_films_file_stays_while_it_is_followed_and_goes_then(on_loop, model, film_file):
    async def check(app) -> None:
        film = sent(app, film_file)
        await film.task
        location = film.headers[b"location"].decode()
        model.gate.clear()
        asked = {"objects": [{"id": 1, "points": [[18, 34]], "frame": 5}], "direction": "both"}
        follows = Asked(app, f"{location}/track", json.dumps(asked).encode())
        await until(lambda: model.calls)
        (kept,) = app.state.service.films._kept.values()
        forgets = Asked(app, location, b"", method="DELETE")
        await forgets.task
        assert forgets.status == 204
        assert kept.path.exists()
        model.gate.set()
        await follows.task
        assert b"error" not in follows.body
        assert follows.body.count(b"\n") == 12
        assert not kept.path.exists()

    on_loop(check)


async def film_behind_a_picture(app, model, film_file, picture_file):
    """A picture that is being encoded, a film that waits for its turn, and the film's path."""
    film = sent(app, film_file)
    await film.task
    model.gate.clear()
    picture = Asked(app, "/v1/images", picture_file)
    await asyncio.to_thread(model.begun.acquire)
    track = f"{film.headers[b'location'].decode()}/track"
    follows = Asked(app, track, json.dumps(SHOWN).encode())
    await until(lambda: app.state.service.turns._heap)
    return picture, follows, track


def test_a_film_that_waits_for_its_turn_is_given_up_when_its_client_goes(
    on_loop, model, film_file, file
):
    async def check(app) -> None:
        picture, follows, _ = await film_behind_a_picture(app, model, film_file, file())
        follows.left.set()
        await follows.task
        assert not picture.task.done()
        model.gate.set()
        await picture.task
        assert model.calls == ["encode"]

    on_loop(check)


def test_a_film_ends_with_the_server_though_it_waits_for_its_turn(on_loop, model, film_file, file):
    async def check(app) -> None:
        picture, follows, track = await film_behind_a_picture(app, model, film_file, file())
        app.state.service.drain(0.05)
        later = Asked(app, track, json.dumps(SHOWN).encode())
        for one in (follows, later):
            await one.task
            assert one.status == 503
            assert "about to end" in json.loads(one.body)["detail"]
        assert not picture.task.done()
        model.gate.set()
        await picture.task
        assert model.calls == ["encode"]

    on_loop(check)


def test_films_that_are_followed_are_counted(on_loop, model, film_file):
    async def check(app) -> None:
        film = sent(app, film_file)
        await film.task
        model.gate.clear()
        track = f"{film.headers[b'location'].decode()}/track"
        first = Asked(app, track, json.dumps(SHOWN).encode())
        await until(lambda: model.calls)
        second = Asked(app, track, json.dumps(SHOWN).encode())
        await second.task
        assert second.status == 429
        model.gate.set()
        await first.task
        assert first.status == 200

    on_loop(check, Limits(films_followed=1))
