"""Completions and chat completions, whole and as streams, field by field as recorded from vLLM 0.32."""

from abc import ABC, abstractmethod
from typing import Any

from bench.simulator.bodies import (
    DONE,
    Cut,
    broken_off,
    encode,
    event,
    final_usage,
    piece,
    usage,
    usage_so_far,
)
from bench.simulator.jobs import Job
from bench.simulator.requests import Refused


class _Chunks(ABC):
    """The part of both streams that is the same: which chunk comes when."""

    object = ""
    tells_created = False
    """Whether usage tells how many tokens were new to the cache."""

    def __init__(self, job: Job, fingerprint: str) -> None:
        self._job, self._fingerprint = job, fingerprint
        self._head = {"id": job.id, "object": self.object, "created": job.created, "model": job.model}
        self._cuts: dict[int, Cut] = {}
        self._sent = self._ended = 0

    def token(self, choice: int, index: int) -> bytes:
        """The chunk of one token; the last of a choice says why it ended."""
        job = self._job
        self._sent += 1
        if index + 1 == len(job.choices[choice].output):
            return self._last(choice, index)
        if job.continuous:
            return event(self._with_usage(self._chunk(choice, piece(job, choice, index), None), self._sent))
        if choice not in self._cuts:
            self._cuts[choice] = Cut(self._chunk(choice, Cut.text(), None))
        return self._cuts[choice].fill(piece(job, choice, index))

    def _last(self, choice: int, index: int) -> bytes:
        job = self._job
        chunk = self._chunk(choice, piece(job, choice, index), job.choices[choice].reason)
        self._ended += 1
        if job.continuous:
            chunk = self._with_usage(chunk, self._sent)
        if self._ended == len(job.choices) and not job.usage:
            chunk["system_fingerprint"] = self._fingerprint
        if self._ended == len(job.choices) and job.handover:
            chunk["kv_transfer_params"] = job.handover
        return event(chunk)

    def failing(self, refused: Refused) -> bytes:
        """The error, and the end of the stream."""
        return broken_off(refused)

    def closing(self) -> bytes:
        """The usage, where it was asked for, and the end of the stream."""
        if not self._job.usage:
            return DONE
        told = final_usage(self._job, created=self.tells_created)
        last = {**self._head, "choices": [], "usage": told, "system_fingerprint": self._fingerprint}
        return event(last) + DONE

    def _with_usage(self, chunk: dict[str, Any], tokens: int) -> dict[str, Any]:
        return {**chunk, "usage": usage_so_far(self._job, tokens)}

    @abstractmethod
    def _chunk(self, choice: int, text: str, reason: str | None) -> dict[str, Any]:
        """A chunk with one piece of text; `reason` only with the last one of a choice."""


class Completion(_Chunks):
    """/v1/completions."""

    object = "text_completion"

    def body(self) -> dict[str, Any]:
        """The whole answer, nulls included."""
        return {
            **self._head,
            "choices": [self._choice(index) for index in range(len(self._job.choices))],
            "service_tier": None,
            "system_fingerprint": self._fingerprint,
            "usage": usage(self._job),
            "kv_transfer_params": self._job.handover,
            "ec_transfer_params": None,
            "metrics": None,
        }

    def opening(self) -> bytes:
        """A completion begins with its first token."""
        return b""

    def _choice(self, index: int) -> dict[str, Any]:
        choice = self._job.choices[index]
        return {
            "index": index,
            "text": choice.text,
            "logprobs": None,
            "finish_reason": choice.reason,
            "stop_reason": None,
            "token_ids": None,
            "prompt_logprobs": None,
            "prompt_token_ids": None,
            "routed_experts": None,
        }

    def _chunk(self, choice: int, text: str, reason: str | None) -> dict[str, Any]:
        shape = {
            "index": choice,
            "text": text,
            "logprobs": None,
            "finish_reason": reason,
            "stop_reason": None,
            "prompt_token_ids": None,
            "token_ids": None,
        }
        return {**self._head, "choices": [shape]}


class Chat(_Chunks):
    """/v1/chat/completions."""

    object = "chat.completion.chunk"
    tells_created = True

    def body(self) -> dict[str, Any]:
        """The whole answer, nulls included."""
        return {
            **self._head,
            "object": "chat.completion",
            "choices": [self._choice(index) for index in range(len(self._job.choices))],
            "service_tier": None,
            "system_fingerprint": self._fingerprint,
            "usage": usage(self._job, created=True),
            "prompt_logprobs": None,
            "prompt_token_ids": None,
            "prompt_text": None,
            "kv_transfer_params": self._job.handover,
            "ec_transfer_params": None,
            "metrics": None,
        }

    def opening(self) -> bytes:
        """A chunk for each choice that names the role and holds no text."""
        return b"".join(self._role(index) for index in range(len(self._job.choices)))

    def _role(self, index: int) -> bytes:
        delta = {"role": "assistant", "content": ""}
        shape = {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}
        chunk = {**self._head, "choices": [shape], "prompt_token_ids": None, "prompt_text": None}
        return event(self._with_usage(chunk, 0) if self._job.continuous else chunk)

    def _choice(self, index: int) -> dict[str, Any]:
        choice = self._job.choices[index]
        silent = ("refusal", "annotations", "audio", "function_call", "reasoning")
        return {
            "index": index,
            "message": {"role": "assistant", "content": choice.text, **dict.fromkeys(silent)},
            "logprobs": None,
            "finish_reason": choice.reason,
            "stop_reason": None,
            "token_ids": None,
            "routed_experts": None,
        }

    def _chunk(self, choice: int, text: str, reason: str | None) -> dict[str, Any]:
        shape = {"index": choice, "delta": {"content": text}, "logprobs": None, "finish_reason": reason}
        if reason:
            shape["stop_reason"] = None
        shape["token_ids"] = None
        return {**self._head, "choices": [shape]}


class Generate:
    """/inference/v1/generate: token ids in, token ids out."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def body(self) -> dict[str, Any]:
        """The whole answer."""
        choices = [
            self._choice(index, choice.output.tolist(), choice.reason)
            for index, choice in enumerate(self._job.choices)
        ]
        return {
            "request_id": self._job.id,
            "choices": choices,
            "usage": usage(self._job),
            "prompt_logprobs": None,
            "kv_transfer_params": self._job.handover,
        }

    def opening(self) -> bytes:
        """It begins with its first token."""
        return b""

    def token(self, choice: int, index: int) -> bytes:
        """One id in a chunk."""
        output = self._job.choices[choice].output
        reason = self._job.choices[choice].reason if index + 1 == len(output) else None
        chunk = self._choice(choice, [int(output[index])], reason)
        return event({"request_id": self._job.id, "choices": [chunk]})

    def failing(self, refused: Refused) -> bytes:
        """The error, and the end of the stream."""
        return broken_off(refused)

    def closing(self) -> bytes:
        """The usage, where it was asked for, and the end of the stream."""
        if not self._job.usage:
            return DONE
        told = {"request_id": self._job.id, "choices": [], "usage": final_usage(self._job)}
        return b"data: " + encode(told) + b"\n\n" + DONE

    def _choice(self, index: int, ids: list[int], reason: str | None) -> dict[str, Any]:
        return {"index": index, "logprobs": None, "finish_reason": reason, "token_ids": ids}
