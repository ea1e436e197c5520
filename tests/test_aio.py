import asyncio
import logging
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from endpoint_picker import aio


class Stop(BaseException):
    """Ends a loop that has no end."""


class Sleeps:
    """Stands in for waiting: notes the pauses and stops the loop after some of them."""

    def __init__(self, count: int) -> None:
        self.pauses: list[float] = []
        self._count = count

    async def __call__(self, seconds: float) -> None:
        self.pauses.append(seconds)
        if len(self.pauses) >= self._count:
            raise Stop


async def forever() -> None:
    await asyncio.Event().wait()


async def test_a_task_that_dies_is_logged_once_with_its_name(caplog: pytest.LogCaptureFixture) -> None:
    tasks = aio.Tasks()

    async def die() -> None:
        raise ValueError("broken")

    task = tasks.start("the gauge reader", die())
    await asyncio.wait([task])
    await asyncio.sleep(0)
    assert task.result() is None
    (record,) = caplog.records
    assert "the gauge reader" in record.getMessage()
    assert record.exc_info is not None
    assert "broken" in str(record.exc_info[1])
    assert len(tasks) == 0


async def test_a_result_comes_through_the_guard() -> None:
    tasks = aio.Tasks()
    assert await tasks.start("answer", asyncio.sleep(0, 42)) == 42


async def test_close_cancels_and_waits(caplog: pytest.LogCaptureFixture) -> None:
    tasks = aio.Tasks()
    ended: list[str] = []

    async def work() -> None:
        try:
            await forever()
        finally:
            await asyncio.sleep(0)
            ended.append("cleaned up")

    task = tasks.start("work", work())
    await asyncio.sleep(0)
    await tasks.close()
    assert task.cancelled()
    assert ended == ["cleaned up"]
    assert not caplog.records


async def test_a_task_cancelled_before_its_first_step_leaves_no_warning() -> None:
    tasks = aio.Tasks()
    task = tasks.start("never began", forever())
    await tasks.close()
    assert task.cancelled()


async def test_nothing_starts_after_close() -> None:
    tasks = aio.Tasks()
    await tasks.close()
    with pytest.raises(RuntimeError, match="too late"):
        tasks.start("too late", forever())


async def test_a_task_may_close_its_own_group() -> None:
    tasks = aio.Tasks()
    other = tasks.start("other", forever())
    await tasks.start("closer", tasks.close())
    assert other.cancelled()


async def test_a_task_that_ignores_its_end_is_named(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aio, "LONGEST_GOODBYE", 0.01)
    release = asyncio.Event()

    async def stubborn() -> None:
        try:
            await forever()
        except asyncio.CancelledError:
            await release.wait()

    tasks = aio.Tasks()
    task = tasks.start("the mule", stubborn())
    await asyncio.sleep(0)
    await tasks.close()
    assert "the mule" in caplog.text
    release.set()
    await task


async def test_repeat_waits_as_long_as_each_step_says() -> None:
    pauses = iter([0.5, 0.25, 3.0])

    async def step() -> float:
        return next(pauses)

    sleeps = Sleeps(3)
    with pytest.raises(Stop):
        await aio.repeat("step", step, sleep=sleeps)
    assert sleeps.pauses == [0.5, 0.25, 3.0]


async def test_repeat_goes_on_after_failures_and_logs_each_spell_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    outcomes = iter([1, 0, 0, 1, 0, 1])

    async def step() -> float:
        if not next(outcomes):
            raise KeyError("gone")
        return 0.1

    sleeps = Sleeps(6)
    with pytest.raises(Stop):
        await aio.repeat("the poll", step, after_failure=9.0, sleep=sleeps)
    assert sleeps.pauses == [0.1, 9.0, 9.0, 0.1, 9.0, 0.1]
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2
    assert "the poll" in caplog.text


@given(
    first=st.floats(0.001, 10), cap=st.floats(0.001, 100), least=st.floats(0, 10), failures=st.integers(1, 60)
)
def test_a_backoff_stays_within_what_doubling_allows(
    first: float, cap: float, least: float, failures: int
) -> None:
    backoff = aio.Backoff(first, cap, rng=random.Random(failures), least=least)
    for number in range(failures):
        longest = min(cap, first * 2.0**number)
        assert min(least, longest) <= backoff.next() <= longest * (1 + 1e-12)


def test_a_backoff_grows_spreads_and_resets() -> None:
    backoff = aio.Backoff(1.0, 64.0, rng=random.Random(7))
    draws = [backoff.next() for _ in range(200)]
    assert max(draws) > 60.0
    assert min(draws[10:]) < 4.0  # full jitter: anything down to nothing
    backoff.reset()
    assert backoff.failures == 0
    assert backoff.next() <= 1.0


def test_a_seed_makes_a_backoff_repeatable() -> None:
    one = aio.Backoff(1.0, 8.0, rng=random.Random(3))
    other = aio.Backoff(1.0, 8.0, rng=random.Random(3))
    assert [one.next() for _ in range(5)] == [other.next() for _ in range(5)]


def test_a_backoff_survives_any_number_of_failures() -> None:
    backoff = aio.Backoff(1.0, 2.0, rng=random.Random(0))
    backoff.failures = 10_000
    assert backoff.next() <= 2.0
