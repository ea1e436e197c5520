"""What a client makes of an answer, above all of one that is not as it should be."""

import json
import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.load.sending import client
from bench.load.stream import Answer, Kind, Reading, ask
from bench.processes import free_port
from tests.fakes.raw_server import answering, stream, whole
from tests.fakes.simulated import replica


def event(payload: Any) -> bytes:
    return b"data: " + json.dumps(payload).encode() + b"\n\n"


def chat(text: str, finish: str | None = None) -> bytes:
    return event({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]})


ROLE = event({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]})
USAGE = event(
    {
        "choices": [],
        "usage": {
            "prompt_tokens": 9,
            "completion_tokens": 3,
            "total_tokens": 12,
            "prompt_tokens_details": {"cached_tokens": 4},
        },
    }
)
DONE = b"data: [DONE]\n\n"
GOOD = ROLE + chat("Grüße") + chat(" da") + chat("", "stop") + USAGE + DONE


async def answer_to(raw: bytes, *, hang: bool = False, timeout: float = 10.0) -> Answer:
    async with answering(raw, hang=hang) as (url, _), client(timeout) as session:
        return await ask(session, f"{url}/v1/chat/completions", b"{}")


async def test_a_replica_is_read_to_its_end() -> None:
    body = {
        "model": "tiny",
        "prompt": "word" * 64,
        "max_tokens": 5,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    async with replica() as server, client() as session:
        url = f"{server.url}/v1/completions"
        await ask(session, url, json.dumps(body).encode(), {"content-type": "application/json"})
        answer = await ask(session, url, json.dumps(body).encode(), {"content-type": "application/json"})
    assert answer.flaw is None
    assert (answer.status, answer.tokens, len(answer.gaps), len(answer.text)) == (200, 5, 4, 20)
    assert answer.usage.prompt_tokens == 64
    assert answer.usage.cached_tokens == 32
    assert answer.sent < answer.first <= answer.last <= answer.ended


@given(st.sets(st.integers(1, len(GOOD) - 1)))
def test_events_may_be_cut_anywhere(cuts: set[int]) -> None:
    answer = Answer(0.0)
    reading = Reading(answer)
    edges = [0, *sorted(cuts), len(GOOD)]
    for number, (begin, end) in enumerate(pairwise(edges), 1):
        reading.feed(GOOD[begin:end], float(number))
    assert reading.end() is None
    assert answer.text == "Grüße da"
    assert (answer.usage.prompt_tokens, answer.usage.cached_tokens, answer.tokens) == (9, 4, 3)
    # The first token came with the chunk in which its event ended; the role alone is none.
    assert answer.first == 1 + sum(cut < GOOD.index(chat("Grüße")) + len(chat("Grüße")) - 1 for cut in cuts)
    assert len(answer.gaps) == 1
    assert answer.last == answer.first + sum(answer.gaps)


@pytest.mark.parametrize(
    ("delta", "said"),
    [
        ({"reasoning": "hm"}, ""),
        ({"reasoning_content": "hm"}, ""),
        ({"tool_calls": [{"index": 0}]}, ""),
        ({"content": "x"}, "x"),
    ],
)
def test_what_counts_as_a_token(delta: dict[str, Any], said: str) -> None:
    answer = Answer(0.0)
    reading = Reading(answer)
    reading.feed(ROLE, 1.0)
    assert math.isnan(answer.first)
    reading.feed(event({"choices": [{"delta": delta}]}) + DONE, 2.0)
    assert reading.end() is None
    assert (answer.first, answer.tokens, answer.text) == (2.0, 1, said)


def test_an_answer_without_text_has_a_first_token_all_the_same() -> None:
    answer = Answer(0.0)
    reading = Reading(answer)
    reading.feed(chat("", "stop") + DONE, 3.0)
    assert reading.end() is None
    assert (answer.first, answer.gaps) == (3.0, [])


@pytest.mark.parametrize(
    ("raw", "kind", "told"),
    [
        (whole("429 Busy", b'{"error": {"message": "come back"}}'), Kind.STATUS, "HTTP 429: come back"),
        (whole("503 Gone", b"no healthy upstream", "text/plain"), Kind.STATUS, "no healthy upstream"),
        (whole("502 Bad Gateway", b""), Kind.STATUS, "HTTP 502: Bad Gateway"),
        (whole("307 Elsewhere", b""), Kind.STATUS, "HTTP 307"),
        (whole("200 OK", b'{"choices": []}'), Kind.FOREIGN, "application/json instead of text/event-stream"),
        (stream(b"data: nonsense\n\n"), Kind.FOREIGN, "none of OpenAI's"),
        (stream(b"data: \xff\n\n"), Kind.FOREIGN, "none of OpenAI's"),
        (stream(b"data: 5\n\n"), Kind.FOREIGN, "none of OpenAI's"),
        (stream(event({"answer": 42})), Kind.FOREIGN, "without choices"),
        (stream(chat("a"), event({"error": {"message": "out of memory"}}), DONE), Kind.STREAM, "out of mem"),
        (stream(chat("a"), event({"error": "odd"}), DONE), Kind.STREAM, "odd"),
        (stream(chat("a")), Kind.BROKEN, "without [DONE]"),
        (stream(chat("a"), ended=False), Kind.BROKEN, "ClientPayloadError"),
        (stream(), Kind.BROKEN, "without [DONE]"),
        (b"", Kind.BROKEN, "Disconnected"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", Kind.BROKEN, "Bad"),
        (whole("500 Oh", b"x" * 100_000, "text/plain"), Kind.STATUS, "x…"),
    ],
)
async def test_flaws_have_names(raw: bytes, kind: Kind, told: str) -> None:
    answer = await answer_to(raw)
    assert answer.flaw is not None
    assert answer.flaw.kind is kind
    assert told in answer.flaw.told
    assert len(answer.flaw.told) <= 160
    assert answer.ended >= answer.sent


@pytest.mark.parametrize("raw", [b"", stream(chat("a"), ended=False), whole("500 No", b"")[:-2]])
async def test_silence_is_a_time_out(raw: bytes) -> None:
    answer = await answer_to(raw, hang=True, timeout=0.2)
    assert answer.flaw is not None
    assert answer.flaw.kind is Kind.TIMEOUT


async def test_nobody_listens() -> None:
    async with client() as session:
        answer = await ask(session, f"http://127.0.0.1:{free_port()}/v1/completions", b"{}")
    assert answer.flaw is not None
    assert answer.flaw.kind is Kind.CONNECTION
    assert answer.status == 0
