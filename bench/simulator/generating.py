"""The routes that generate: each a few lines from body to job to answer."""

import base64
import random
import struct
import zlib
from collections.abc import Awaitable, Callable

import numpy as np
from aiohttp import web

from bench.simulator import messages, openresponses, tokenizer
from bench.simulator.adapters import Names
from bench.simulator.blocks import Tokens
from bench.simulator.bodies import VERSION, Dialect
from bench.simulator.config import ReplicaConfig
from bench.simulator.jobs import Job, Planner, prompts_of
from bench.simulator.messages import Messages
from bench.simulator.openai import Chat, Completion, Generate
from bench.simulator.openresponses import Responses
from bench.simulator.ranks import Ranks
from bench.simulator.requests import (
    ChatBody,
    CompletionBody,
    EmbeddingsBody,
    GenerateBody,
    MessagesBody,
    Refused,
    ResponsesBody,
    Sampling,
    decode,
)
from bench.simulator.streaming import answer, json_response, run

_DIMENSIONS = 64
_COMPLETION_TOKENS = 16
"""vLLM's limit for a completion that sets none."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Generating:
    """Handlers over the engines behind one port."""

    def __init__(self, config: ReplicaConfig, names: Names, ranks: Ranks) -> None:
        self._names, self._ranks = names, ranks
        self._planner = Planner(config)
        self._ids = random.Random(f"{config.seed}/{config.engine.seed}")
        self._fingerprint = f"vllm-{VERSION}-{zlib.crc32(repr(config).encode()):08x}"
        self.load = 0
        """Requests under way."""

    def routes(self) -> dict[str, Handler]:
        """Path to handler."""
        return {
            "/v1/completions": self._counted(self._completions),
            "/v1/chat/completions": self._counted(self._chat),
            "/v1/messages": self._counted(self._messages),
            "/v1/responses": self._counted(self._responses),
            "/v1/embeddings": self._counted(self._embeddings),
            "/inference/v1/generate": self._counted(self._generate),
        }

    def _counted(self, handler: Handler) -> Handler:
        """The handler, with its requests in the load while they last."""

        async def counted(request: web.Request) -> web.StreamResponse:
            self.load += 1
            try:
                return await handler(request)
            finally:
                self.load -= 1

        return counted

    def _id(self, request: web.Request, prefix: str) -> str:
        return prefix + (request.headers.get("X-Request-Id") or f"{self._ids.getrandbits(64):016x}")

    async def _answer(
        self, request: web.Request, job: Job, dialect: Dialect, stream: bool | None
    ) -> web.StreamResponse:
        """Run the job on one of the engines and tell how it goes."""
        index = self._ranks.choose(request.headers)
        try:
            return await answer(request, self._ranks.enter(index), job, dialect, stream=bool(stream))
        finally:
            self._ranks.leave(index)

    async def _completions(self, request: web.Request) -> web.StreamResponse:
        body = decode(await request.read(), CompletionBody)
        model = self._names.resolve(body.model)
        job = self._planner.plan(
            prompts_of(body.prompt),
            body,
            id=self._id(request, "cmpl-"),
            model=model,
            default=_COMPLETION_TOKENS,
            numbered=True,
        )
        return await self._answer(request, job, Completion(job, self._fingerprint), body.stream)

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = decode(await request.read(), ChatBody)
        model = self._names.resolve(body.model)
        if body.max_completion_tokens is not None:
            body.max_tokens = body.max_completion_tokens
        prompt = tokenizer.encode_chat(
            body.messages, tools=body.tools, generate=body.add_generation_prompt is not False
        )
        job = self._planner.plan([prompt], body, id=self._id(request, "chatcmpl-"), model=model, default=None)
        return await self._answer(request, job, Chat(job, self._fingerprint), body.stream)

    async def _messages(self, request: web.Request) -> web.StreamResponse:
        try:
            body = decode(await request.read(), MessagesBody)
            model = self._names.resolve(body.model)
            prompt = tokenizer.encode_chat(messages.chat_of(body), tools=body.tools)
            body.n = 1
            job = self._planner.plan(
                [prompt], body, id=self._id(request, "chatcmpl-"), model=model, default=None
            )
            return await self._answer(request, job, Messages(job), body.stream)
        except Refused as refused:
            return json_response(messages.error_body(refused), refused.status)

    async def _responses(self, request: web.Request) -> web.StreamResponse:
        body = decode(await request.read(), ResponsesBody)
        model = self._names.resolve(body.model)
        body.max_tokens, body.n = body.max_output_tokens, 1
        prompt = tokenizer.encode_chat(openresponses.chat_of(body), tools=body.tools)
        job = self._planner.plan([prompt], body, id=self._id(request, "resp_"), model=model, default=None)
        return await self._answer(request, job, Responses(job, body), body.stream)

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        body = decode(await request.read(), GenerateBody)
        model = self._names.resolve(body.model)
        wanted = body.sampling_params
        sampling = Sampling(
            stream=body.stream,
            stream_options=body.stream_options,
            max_tokens=wanted.max_tokens,
            min_tokens=wanted.min_tokens,
            ignore_eos=wanted.ignore_eos,
            n=wanted.n,
            seed=wanted.seed,
            cache_salt=body.cache_salt,
            kv_transfer_params=body.kv_transfer_params,
        )
        name = body.request_id or self._id(request, "generate-tokens-")
        prompt = np.array(body.token_ids, dtype=np.uint32)
        job = self._planner.plan([prompt], sampling, id=name, model=model, default=None)
        return await self._answer(request, job, Generate(job), body.stream)

    async def _embeddings(self, request: web.Request) -> web.StreamResponse:
        """Each input costs its prefill; the vector is noise of the input's seed."""
        body = decode(await request.read(), EmbeddingsBody)
        model = self._names.resolve(body.model)
        prompts = prompts_of(body.input)
        name = self._id(request, "embd-")
        job = self._planner.plan(prompts, Sampling(max_tokens=1), id=name, model=model, default=None)
        index = self._ranks.choose(request.headers)
        try:
            await run(self._ranks.enter(index), job)
        finally:
            self._ranks.leave(index)
        count = job.prompt_tokens
        vectors = [_vector(choice.prompt, body) for choice in job.choices]
        return json_response(
            {
                "id": name,
                "object": "list",
                "created": job.created,
                "model": model,
                "data": [{"index": i, "object": "embedding", "embedding": v} for i, v in enumerate(vectors)],
                "usage": {
                    "prompt_tokens": count,
                    "total_tokens": count,
                    "completion_tokens": 0,
                    "prompt_tokens_details": None,
                },
            }
        )


def _vector(prompt: Tokens, body: EmbeddingsBody) -> list[float] | str:
    """A unit-less vector, as numbers or as base64 of little-endian floats."""
    rng = random.Random(tokenizer.fingerprint(prompt))
    vector = [rng.uniform(-1.0, 1.0) for _ in range(body.dimensions or _DIMENSIONS)]
    if body.encoding_format == "base64":
        return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
    return vector
