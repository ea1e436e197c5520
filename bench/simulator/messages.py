"""Anthropic's messages, whole and as a stream of named events."""

from typing import Any

from bench.simulator.bodies import Cut, event, piece
from bench.simulator.jobs import Job
from bench.simulator.requests import Message, MessagesBody, Refused

_STOP = {"stop": "end_turn", "length": "max_tokens"}


def chat_of(body: MessagesBody) -> list[Message]:
    """The conversation with the system prompt as its first message."""
    if not body.system:
        return body.messages
    return [{"role": "system", "content": body.system}, *body.messages]


def error_body(refused: Refused) -> dict[str, Any]:
    """An error in Anthropic's form."""
    return {"type": "error", "error": {"type": refused.kind, "message": refused.message}}


class Messages:
    """/v1/messages; a job has one choice."""

    def __init__(self, job: Job) -> None:
        self._job = job
        delta = {"type": "text_delta", "text": Cut.text()}
        self._cut = Cut(
            {"type": "content_block_delta", "index": 0, "delta": delta},
            "content_block_delta",
        )

    def body(self) -> dict[str, Any]:
        """The whole answer."""
        choice = self._job.choices[0]
        told = {
            **self._message([{"type": "text", "text": choice.text}]),
            "stop_reason": _STOP[choice.reason],
            "usage": self._usage(len(choice.output)),
        }
        if self._job.handover:
            told["kv_transfer_params"] = self._job.handover
        return told

    def opening(self) -> bytes:
        """The empty message and its only block."""
        message = {**self._message([]), "stop_reason": None, "stop_sequence": None, "usage": self._usage(0)}
        block = {"type": "text", "text": ""}
        return event({"type": "message_start", "message": message}, "message_start") + event(
            {"type": "content_block_start", "index": 0, "content_block": block}, "content_block_start"
        )

    def token(self, choice: int, index: int) -> bytes:
        """One piece of the block's text."""
        return self._cut.fill(piece(self._job, choice, index))

    def closing(self) -> bytes:
        """The end of the block and of the message, with the usage."""
        choice = self._job.choices[0]
        delta = {"stop_reason": _STOP[choice.reason]}
        usage = self._usage(len(choice.output))
        return (
            event({"type": "content_block_stop", "index": 0}, "content_block_stop")
            + event({"type": "message_delta", "delta": delta, "usage": usage}, "message_delta")
            + event({"type": "message_stop"}, "message_stop")
        )

    def failing(self, refused: Refused) -> bytes:
        """The error as an event."""
        return event(error_body(refused), "error")

    def _message(self, content: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self._job.id,
            "type": "message",
            "role": "assistant",
            "content": content,
            "model": self._job.model,
        }

    def _usage(self, output: int) -> dict[str, int]:
        """`input_tokens` counts the whole prompt, cached tokens included, as vLLM does."""
        return {
            "input_tokens": self._job.prompt_tokens,
            "output_tokens": output,
            "cache_read_input_tokens": self._job.cached_tokens,
        }
