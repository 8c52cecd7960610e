"""Who computes next."""

from __future__ import annotations

import asyncio
import threading

import pytest

pytest.importorskip("fastapi")

from sam3_tvm.runtime.execution.ranks import current_rank
from sam3_tvm.serve.metrics import Metrics
from sam3_tvm.serve.problems import Problem
from sam3_tvm.serve.turns import Kind, Turns


def turns(most: int = 100) -> Turns:
    return Turns(dict.fromkeys(Kind, most), Metrics())


async def hold(made: Turns, kind: Kind) -> tuple[asyncio.Task, threading.Event]:
    """A turn that lasts until the event is set."""
    begun, over = threading.Event(), threading.Event()

    def call() -> None:
        begun.set()
        over.wait(20)

    task = asyncio.create_task(made.run(kind, call))
    await asyncio.to_thread(begun.wait, 20)
    return task, over


def test_clicks_pass_ahead_of_prompts_and_these_of_pictures_and_frames_which_keep_their_order():
    async def check() -> None:
        made, order = turns(), []
        held, over = await hold(made, Kind.CLICK)
        asked = [Kind.PICTURE, Kind.FRAME, Kind.PROMPT, Kind.PICTURE, Kind.CLICK, Kind.PROMPT]
        tasks = []
        for number, kind in enumerate(asked):
            call = lambda n=number: order.append(n)  # noqa: E731
            tasks.append(asyncio.create_task(made.run(kind, call)))
            await asyncio.sleep(0)
        over.set()
        await asyncio.gather(held, *tasks)
        assert order == [4, 2, 5, 0, 1, 3]
        made.close()

    asyncio.run(check())


def test_what_comes_before_others_has_its_turn_within_theirs_and_gives_none_to_its_own_kind():
    async def check() -> None:
        made = turns()
        picture, picture_over = await hold(made, Kind.PICTURE)
        prompt, prompt_over = await hold(made, Kind.PROMPT)
        assert await asyncio.wait_for(made.run(Kind.CLICK, current_rank), 5) == 0
        second = asyncio.create_task(made.run(Kind.PROMPT, current_rank))
        frame = asyncio.create_task(made.run(Kind.FRAME, current_rank))
        await asyncio.sleep(0.05)
        assert not second.done()
        prompt_over.set()
        assert await asyncio.wait_for(second, 5) == 1
        assert not frame.done()
        assert not picture.done()
        picture_over.set()
        assert await asyncio.wait_for(frame, 5) == 2
        await asyncio.gather(prompt, picture)
        made.close()

    asyncio.run(check())


def test_what_is_given_up_before_its_turn_is_never_made():
    async def check() -> None:
        made, order = turns(), []
        held, over = await hold(made, Kind.PROMPT)
        first = asyncio.create_task(made.run(Kind.PROMPT, lambda: order.append("first")))
        second = asyncio.create_task(made.run(Kind.PROMPT, lambda: order.append("second")))
        await asyncio.sleep(0)
        first.cancel()
        over.set()
        await asyncio.gather(held, second)
        assert order == ["second"]
        assert first.cancelled()
        made.close()

    asyncio.run(check())


def test_what_is_given_up_in_its_turn_lets_the_next_begin_only_when_it_is_over():
    async def check() -> None:
        made = turns()
        held, over = await hold(made, Kind.PICTURE)
        held.cancel()
        after = asyncio.create_task(made.run(Kind.FRAME, lambda: over.is_set()))
        await asyncio.sleep(0.05)
        assert not after.done()
        over.set()
        assert await after is True
        made.close()

    asyncio.run(check())


def test_a_turn_that_comes_as_it_is_given_up_goes_to_the_next():
    async def check() -> None:
        made = turns()
        await made.take(Kind.FRAME)
        left = asyncio.create_task(made.take(Kind.FRAME))
        stays = asyncio.create_task(made.take(Kind.FRAME))
        await asyncio.sleep(0)
        made.give_back(Kind.FRAME, 0.0)  # grants it to the first, which hasn't noticed
        left.cancel()
        await asyncio.wait_for(stays, 5)
        made.close()

    asyncio.run(check())


def test_a_failing_call_gives_its_turn_back():
    async def check() -> None:
        made = turns()
        with pytest.raises(ZeroDivisionError):
            await made.run(Kind.CLICK, lambda: 1 / 0)
        assert await asyncio.wait_for(made.run(Kind.CLICK, lambda: 7), 5) == 7
        made.close()

    asyncio.run(check())


def test_places_are_counted_by_kind_and_one_more_is_told_when_to_try_again():
    made = turns(most=2)
    with made.place(Kind.PICTURE), made.place(Kind.PICTURE):
        with pytest.raises(Problem) as told, made.place(Kind.PICTURE):
            pass
        assert told.value.status_code == 429
        assert 1 <= int(told.value.headers["Retry-After"]) <= 60
        with made.place(Kind.CLICK):
            pass
    with made.place(Kind.PICTURE):
        pass
    made.close()
