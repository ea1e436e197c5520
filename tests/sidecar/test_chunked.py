"""A chat that is decoded in several requests."""

import json
from typing import Any

import pytest
from aiohttp import web

from tests.fakes import vllm
from tests.fakes.replica import Received
from tests.sidecar.conftest import Pod, Start

CHAT = "/v1/chat/completions"
MESSAGES = [{"role": "user", "content": "count"}]
WORDS = ("one ", "two ", "three ", "four ", "five ", "six ", "seven ")


def engine(pod: Pod, words: tuple[str, ...] = WORDS) -> None:
    """An engine whose answer is these words, a token each."""

    async def reply(request: web.Request, received: Received) -> web.StreamResponse:
        asked = received.json
        assert not asked.get("stream")
        assert "stream_options" not in asked
        assert asked.get("min_tokens", 0) <= asked["max_tokens"]
        begun = asked["messages"][-1]["content"] if asked.get("continue_final_message") else ""
        left = words[len(begun.split()) :]
        said = left[: asked["max_tokens"]]
        message = {"role": "assistant", "content": "".join(said), "refusal": None}
        reason = "length" if len(left) > len(said) else "stop"
        usage = {"prompt_tokens": 5 + len(begun.split()), "completion_tokens": len(said), "total_tokens": 0}
        choice = {"index": 0, "message": message, "finish_reason": reason}
        return web.json_response(
            {"id": f"x{len(begun)}", "model": "m", "created": 1, "choices": [choice], "usage": usage}
        )

    pod.decode.reply = reply


async def asked(pod: Pod, prefiller: str | None = None, **fields: Any) -> Any:
    async with pod.post({"messages": MESSAGES, **fields}, CHAT, prefiller=prefiller) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()


@pytest.mark.parametrize(
    ("limits", "sizes", "words", "reason"),
    [
        ({}, [3, 3, 3], 7, "stop"),
        ({"max_tokens": 100, "min_tokens": 5}, [3, 3, 3], 7, "stop"),
        ({"max_tokens": 5}, [3, 2], 5, "length"),
        ({"max_completion_tokens": 6, "max_tokens": 100}, [3, 3], 6, "length"),
    ],
)
async def test_the_pieces_make_one_answer(
    start: Start, limits: dict[str, Any], sizes: list[int], words: int, reason: str
) -> None:
    pod = await start("--decode-chunk-size=3")
    engine(pod)
    told = await asked(pod, **limits, kv_transfer_params={"mine": 1})
    (choice,) = told["choices"]
    text = "".join(WORDS[:words])
    assert choice == {
        "index": 0,
        "message": {"role": "assistant", "content": text, "refusal": None},
        "finish_reason": reason,
    }
    assert told["id"] == "x0"
    assert told["usage"] == {"prompt_tokens": 5, "completion_tokens": words, "total_tokens": 5 + words}
    first, *later = pod.decode.bodies
    assert [body["max_tokens"] for body in (first, *later)] == sizes
    assert [body["max_completion_tokens"] for body in (first, *later)] == sizes
    assert first["messages"] == MESSAGES
    assert first["kv_transfer_params"] == {"mine": 1}
    assert "continue_final_message" not in first
    begun = ""
    for body, start_ in zip(later, range(0, 99, 3), strict=False):
        begun += "".join(WORDS[start_ : start_ + 3])
        assert body["messages"] == [*MESSAGES, {"role": "assistant", "content": begun}]
        assert body["continue_final_message"] is True
        assert body["add_generation_prompt"] is False
        assert "kv_transfer_params" not in body


async def test_a_stream_has_one_event_a_piece(start: Start) -> None:
    pod = await start("--decode-chunk-size=3")
    engine(pod)
    body = {"messages": MESSAGES, "stream": True, "stream_options": {"include_usage": True}}
    async with pod.post(body, CHAT, prefiller=None) as answer:
        assert answer.content_type == "text/event-stream"
        events = (await answer.text()).split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    *pieces, last = [json.loads(event.removeprefix("data: ")) for event in events[:-2]]
    assert {piece["object"] for piece in (*pieces, last)} == {"chat.completion.chunk"}
    assert {piece["id"] for piece in pieces} == {"x0"}
    assert [piece["choices"][0]["delta"] for piece in pieces] == [
        {"role": "assistant", "content": "".join(WORDS[place : place + 3])} for place in (0, 3, 6)
    ]
    assert [piece["choices"][0]["finish_reason"] for piece in pieces] == [None, None, "stop"]
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == 7


async def test_a_prefill_elsewhere_is_for_the_first_piece(start: Start) -> None:
    pod = await start("--decode-chunk-size=3")
    engine(pod)
    told = await asked(pod, "", max_tokens=5)
    assert told["usage"]["prompt_tokens_details"] == {"cached_tokens": 3}
    assert len(pod.prefill.received) == 1
    first, second = pod.decode.bodies
    assert first["kv_transfer_params"] == vllm.HANDED
    assert "kv_transfer_params" not in second


@pytest.mark.parametrize(
    "fields",
    [
        {"max_tokens": 3},
        {"n": 2},
        {"tools": [{"type": "function"}]},
        {"response_format": {"type": "json_object"}},
        {"logprobs": True},
    ],
)
async def test_what_cannot_be_continued_is_decoded_in_one(start: Start, fields: dict[str, Any]) -> None:
    pod = await start("--decode-chunk-size=3")
    await asked(pod, **fields)
    assert pod.decode.bodies == [{"messages": MESSAGES, **fields}]


async def test_other_apis_are_decoded_in_one(start: Start) -> None:
    pod = await start("--decode-chunk-size=3")
    async with pod.post({"prompt": "p"}, prefiller=None) as answer:
        assert answer.status == 200
    assert pod.decode.bodies == [{"prompt": "p"}]


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("code", [400, 503])
async def test_an_engine_that_does_not_go_on(start: Start, streaming: bool, code: int) -> None:
    pod = await start("--decode-chunk-size=3")
    engine(pod)
    going = pod.decode.reply

    async def reply(request: web.Request, received: Received) -> web.StreamResponse:
        if received.json.get("continue_final_message"):
            return web.Response(status=code, text='{"error":\n"full"}')
        return await going(request, received)

    pod.decode.reply = reply
    async with pod.post({"messages": MESSAGES, "stream": streaming}, CHAT, prefiller=None) as answer:
        text = await answer.text()
        if code == 400:
            assert "three" in text  # the context is full: what there is is the answer
            assert "full" not in text
        elif streaming:
            assert text.endswith('data: {"error": "full"}\n\ndata: [DONE]\n\n')
        else:
            assert (answer.status, text) == (503, '{"error":\n"full"}')


async def test_an_error_of_the_first_piece_is_passed_on(start: Start) -> None:
    pod = await start("--decode-chunk-size=3")
    pod.decode.reply = vllm.status(429, "busy")
    async with pod.post({"messages": MESSAGES, "stream": True}, CHAT, prefiller=None) as answer:
        assert (answer.status, await answer.text()) == (429, "busy")
