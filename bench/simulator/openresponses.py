"""OpenAI's responses API, whole and as a stream of named events; conversations are not stored."""

from typing import Any

from bench.simulator.bodies import Cut, event, piece
from bench.simulator.jobs import Job
from bench.simulator.requests import Message, Refused, ResponsesBody


def chat_of(body: ResponsesBody) -> list[Message]:
    """Instructions and input as a conversation."""
    turns = [{"role": "user", "content": body.input}] if isinstance(body.input, str) else body.input
    if not body.instructions:
        return turns
    return [{"role": "system", "content": body.instructions}, *turns]


class Responses:
    """/v1/responses; a job has one choice."""

    def __init__(self, job: Job, body: ResponsesBody) -> None:
        self._job, self._request = job, body
        self._item = f"msg_{job.id.removeprefix('resp_')}"
        self._sequence = 0
        name = "response.output_text.delta"
        # The number differs in each event, so it follows the text and the cut ends before it.
        cut = event({"type": name, **self._place(), "delta": Cut.text()}, name)
        self._delta_head, _ = cut.split(Cut.text().encode())

    def body(self) -> dict[str, Any]:
        """The whole answer."""
        text = self._job.choices[0].text
        status = "completed" if self._job.choices[0].reason == "stop" else "incomplete"
        return self._response(status, [self._message("completed", [self._part(text)])], self._usage())

    def opening(self) -> bytes:
        """The response, its item and its part come to be."""
        empty = self._response("in_progress", [], None)
        return (
            self._named("response.created", response=empty)
            + self._named("response.in_progress", response=empty)
            + self._named("response.output_item.added", output_index=0, item=self._message("in_progress", []))
            + self._named("response.content_part.added", **self._place(), part=self._part(""))
        )

    def token(self, choice: int, index: int) -> bytes:
        """One piece of text."""
        self._sequence += 1
        text = piece(self._job, choice, index).encode()
        return b'%s%s","logprobs":[],"sequence_number":%d}\n\n' % (self._delta_head, text, self._sequence - 1)

    def closing(self) -> bytes:
        """Part, item and response end; the last event has the same name for every status."""
        text = self._job.choices[0].text
        part = self._part(text)
        whole = self.body()
        return (
            self._named("response.output_text.done", **self._place(), text=text, logprobs=[])
            + self._named("response.content_part.done", **self._place(), part=part)
            + self._named(
                "response.output_item.done", output_index=0, item=self._message("completed", [part])
            )
            + self._named("response.completed", response=whole)
        )

    def failing(self, refused: Refused) -> bytes:
        """The response ends as a failed one."""
        told = self._response("failed", [], None) | {
            "error": {"code": "server_error", "message": refused.message}
        }
        return self._named("response.failed", response=told)

    def _named(self, name: str, **fields: object) -> bytes:
        self._sequence += 1
        return event({"type": name, **fields, "sequence_number": self._sequence - 1}, name)

    def _place(self) -> dict[str, Any]:
        return {"item_id": self._item, "output_index": 0, "content_index": 0}

    def _part(self, text: str) -> dict[str, Any]:
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": None}

    def _message(self, status: str, content: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self._item,
            "type": "message",
            "role": "assistant",
            "status": status,
            "content": content,
        }

    def _response(self, status: str, output: list[Any], usage: dict[str, Any] | None) -> dict[str, Any]:
        short = {"reason": "max_output_tokens"} if status == "incomplete" else None
        return {
            "id": self._job.id,
            "object": "response",
            "created_at": self._job.created,
            "status": status,
            "incomplete_details": short,
            "instructions": self._request.instructions,
            "max_output_tokens": self._request.max_output_tokens,
            "metadata": None,
            "model": self._job.model,
            "output": output,
            "parallel_tool_calls": True,
            "previous_response_id": None,
            "tool_choice": "auto",
            "tools": self._request.tools or [],
            "usage": usage,
            "kv_transfer_params": self._job.handover,
        }

    def _usage(self) -> dict[str, Any]:
        job = self._job
        return {
            "input_tokens": job.prompt_tokens,
            "input_tokens_details": {"cached_tokens": job.cached_tokens},
            "output_tokens": job.output_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": job.prompt_tokens + job.output_tokens,
        }
