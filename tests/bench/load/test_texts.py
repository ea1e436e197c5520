import json
from pathlib import Path

from bench.fleet import text, workloads
from bench.fleet.traffic import Request
from bench.load import texts

BLOCK = 64
NOWHERE = Path("/nowhere")


def turns(seed: int = 1) -> tuple[Request, ...]:
    chat = workloads.make("chat", rate=1.0, requests=60, seed=seed, traces_at=NOWHERE)
    return max(chat.sessions, key=len)


def test_a_first_question_is_the_text_of_the_virtual_fleet() -> None:
    request = turns()[0]
    (said,) = texts.Talk(BLOCK).ask(request)
    assert said.encode() == text.prompt(request, BLOCK)


def test_a_conversation_that_is_answered_as_planned_is_that_of_the_virtual_fleet() -> None:
    """Without a word from the server, its answers are made up as there."""
    talk = texts.Talk(BLOCK)
    for turn, request in enumerate(turns()):
        parts = talk.ask(request)
        assert len(parts) == 2 * turn + 1
        assert "".join(parts).encode() == text.prompt(request, BLOCK)


def test_what_was_answered_takes_the_place_of_what_was_planned() -> None:
    talk, (first, second, third, *_) = texts.Talk(BLOCK), turns()
    asked = talk.ask(first)[0]
    parts = list(talk.ask(second, "So it is."))
    assert parts[:2] == [asked, "So it is."]
    own = second.prompt_tokens - first.prompt_tokens - first.output_tokens
    assert len(parts[2]) == own * text.TOKEN_BYTES
    assert talk.ask(third, "Yes.")[:4] == [*parts, "Yes."]


def test_prompts_may_be_longer_for_the_same_tokens() -> None:
    request = turns()[0]
    (said,) = texts.Talk(BLOCK, 7).ask(request)
    assert len(said) == 7 * request.prompt_tokens
    one, other = (
        workloads.make("shared-prefix", rate=1.0, requests=400, seed=1, traces_at=NOWHERE) for _ in range(2)
    )
    twins = [each for each in one if each.blocks[0] == next(iter(other)).blocks[0]][:2]
    begins = [texts.Talk(BLOCK, 7).ask(each)[0] for each in twins]
    shared = 6016 * 7
    assert begins[0][:shared] == begins[1][:shared]
    assert begins[0][shared : shared + 64] != begins[1][shared : shared + 64]


def test_bodies_of_both_apis() -> None:
    parts = ["What?", "That.", "Why?"]
    fields = json.loads(texts.body("chat", parts, "m", 9, {"ignore_eos": True}))
    assert [(each["role"], each["content"]) for each in fields["messages"]] == [
        ("user", "What?"),
        ("assistant", "That."),
        ("user", "Why?"),
    ]
    assert fields["stream_options"] == {"include_usage": True}
    assert (fields["model"], fields["max_tokens"], fields["ignore_eos"], fields["stream"]) == (
        "m",
        9,
        True,
        True,
    )
    assert json.loads(texts.body("completions", parts, "m", 9, {}))["prompt"] == "What?That.Why?"
