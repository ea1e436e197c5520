"""Both sides hold the same conversations; what replicas count is what clients are told."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Self

import pytest

from bench.simulator.running import running
from bench.traffic import Shape
from bench.vllm import course
from bench.vllm.course import Plan, Run, order
from tests.fakes.simulated import SMALL

SHAPE = Shape(
    sessions=6,
    turns=3,
    system_prompts=2,
    system_words=200,
    document_words=100,
    question_words=40,
    answer_tokens=4,
    think_seconds=0.02,
    spread_seconds=0.1,
)
REQUESTS = SHAPE.sessions * SHAPE.turns
CONFIG = replace(SMALL, speed=20.0)


class Simulated:
    """Two replicas, new ones each time that they are renewed."""

    model = CONFIG.model
    words = ("da", "de", "di", "do", "du")

    def __init__(self) -> None:
        self.places: list[str] = []
        self._scope = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._scope.aclose()

    async def renewed(self) -> float:
        await self._scope.aclose()
        ports = await self._scope.enter_async_context(running([CONFIG, CONFIG]))
        self.places = [f"127.0.0.1:{port}" for port in ports]
        return 0.5


def test_each_side_is_first_in_every_other_round() -> None:
    assert order(2) == [(0, "round_robin"), (0, "picker"), (1, "picker"), (1, "round_robin")]


@pytest.mark.e2e
async def test_both_sides_hold_the_same_conversations(tmp_path: Path) -> None:
    answers: dict[str, int] = {}

    def begins(title: str) -> Callable[[], None]:
        answers[title] = 0

        def answered() -> None:
            answers[title] += 1

        return answered

    async with Simulated() as replicas:
        runs = [run async for run in course.runs(Plan(1, 7, SHAPE), replicas, tmp_path, begins)]
    assert [run.side for run in runs] == ["round_robin", "picker"]
    assert answers == {"round 1, round robin": REQUESTS, "round 1, picker": REQUESTS}
    for run in runs:
        counted(run)
    first, second = (run.outcome for run in runs)
    assert first.prompt_tokens == second.prompt_tokens
    assert [each.requests for each in runs[0].replicas] == [REQUESTS // 2] * 2


def counted(run: Run) -> None:
    """The replicas have counted what the client was told."""
    assert (run.outcome.requests, run.outcome.errors, run.alone) == (REQUESTS, 0, 0.5)
    assert sum(each.requests for each in run.replicas) == REQUESTS
    assert sum(each.queries for each in run.replicas) == run.outcome.prompt_tokens
    assert sum(each.hits for each in run.replicas) == run.outcome.cached_tokens > 0
