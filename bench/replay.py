"""Replays chat sessions against one address, as a streaming client sees it."""

import asyncio
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import aiohttp
import numpy as np

from bench.load.stream import Answer, ask
from bench.traffic import Session

_HEADERS = {"content-type": "application/json"}


@dataclass(slots=True)
class Outcome:
    """What the client saw."""

    requests: int = 0
    errors: int = 0
    first_token_seconds: list[float] = field(default_factory=list)
    gap_seconds: list[float] = field(default_factory=list)
    seconds: float = 0.0
    """From the first request to the end of the last answer."""
    output_tokens: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    complaints: dict[str, int] = field(default_factory=dict)
    """Kind of error → how often."""

    def summary(self) -> dict[str, float | int]:
        """Machine-readable figures; times in milliseconds."""
        first, gaps = (
            np.array(values or [np.nan]) * 1e3 for values in (self.first_token_seconds, self.gap_seconds)
        )
        return {
            "requests": self.requests,
            "errors": self.errors,
            **{f"ttft_p{q}_ms": round(float(np.percentile(first, q)), 1) for q in (50, 90, 99)},
            **{f"itl_p{q}_ms": round(float(np.percentile(gaps, q)), 1) for q in (50, 99)},
            "output_tokens_per_s": round(self.output_tokens / max(self.seconds, 1e-9), 1),
            "prefix_hit_rate": round(self.cached_tokens / max(1, self.prompt_tokens), 4),
        }


class Replay:
    """One replay of some sessions."""

    def __init__(
        self,
        url: str,
        model: str,
        answer_tokens: int,
        on_answer: Callable[[], None] = lambda: None,
        fields: Mapping[str, object] | None = None,
    ) -> None:
        """`fields` are more of what each request asks for."""
        self.outcome = Outcome()
        self._url = f"{url}/v1/chat/completions"
        self._model = model
        self._answer_tokens = answer_tokens
        self._on_answer = on_answer
        self._fields = fields or {}

    async def run(self, sessions: Sequence[Session]) -> Outcome:
        """All sessions, each on its own time; ends when the last one has."""
        timeout = aiohttp.ClientTimeout(total=120.0)
        connector = aiohttp.TCPConnector(limit=0)
        started = time.perf_counter()
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as client:
            await asyncio.gather(*(self._session(client, session) for session in sessions))
        self.outcome.seconds = time.perf_counter() - started
        return self.outcome

    async def _session(self, client: aiohttp.ClientSession, session: Session) -> None:
        await asyncio.sleep(session.begins_at)
        history = [{"role": "system", "content": session.system}]
        for question, pause in zip(session.questions, (0.0, *session.pauses), strict=True):
            await asyncio.sleep(pause)
            history.append({"role": "user", "content": question})
            history.append({"role": "assistant", "content": await self._ask(client, history)})
            self._on_answer()

    async def _ask(self, client: aiohttp.ClientSession, history: list[dict[str, str]]) -> str:
        body = {
            "model": self._model,
            "messages": history,
            "max_tokens": self._answer_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
            **self._fields,
        }
        self.outcome.requests += 1
        answer = await ask(client, self._url, json.dumps(body).encode(), _HEADERS)
        self._account(answer)
        return answer.text

    def _account(self, answer: Answer) -> None:
        outcome, usage = self.outcome, answer.usage
        if answer.flaw:
            outcome.errors += 1
            told = f"{answer.flaw.kind}: {answer.flaw.told}"
            outcome.complaints[told] = outcome.complaints.get(told, 0) + 1
        if not math.isnan(answer.first):
            outcome.first_token_seconds.append(answer.first - answer.sent)
        outcome.gap_seconds += answer.gaps
        outcome.prompt_tokens += usage.prompt_tokens or 0
        outcome.output_tokens += usage.completion_tokens or 0
        outcome.cached_tokens += usage.cached_tokens or 0
