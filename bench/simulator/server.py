"""The HTTP face of one replica: vLLM's routes, each a few lines from body to job to answer."""

import asyncio
import base64
import contextlib
import random
import struct
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable

import numpy as np
from aiohttp import web

from bench.simulator import exposition, messages, openresponses, tokenizer
from bench.simulator.adapters import Names
from bench.simulator.blocks import Tokens
from bench.simulator.bodies import VERSION
from bench.simulator.config import ReplicaConfig
from bench.simulator.jobs import Planner, prompts_of
from bench.simulator.messages import Messages
from bench.simulator.openai import Chat, Completion, Generate
from bench.simulator.openresponses import Responses
from bench.simulator.replica import Replica
from bench.simulator.requests import (
    ChatBody,
    CompletionBody,
    DetokenizeBody,
    EmbeddingsBody,
    GenerateBody,
    LoadAdapterBody,
    MessagesBody,
    Refused,
    ResponsesBody,
    Sampling,
    TokenizeBody,
    UnloadAdapterBody,
    bad_request,
    decode,
)
from bench.simulator.streaming import answer, json_response, settle

_LARGEST_BODY = 64 * 1024 * 1024
_DIMENSIONS = 64
_COMPLETION_TOKENS = 16
"""vLLM's limit for a completion that sets none."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """Routes of one replica."""

    def __init__(self, config: ReplicaConfig) -> None:
        self.replica = Replica(config)
        self._config = config
        self._names = Names(config)
        self._planner = Planner(config)
        self._ids = random.Random(f"{config.seed}/{config.engine.seed}")
        self._fingerprint = f"vllm-{VERSION}-{zlib.crc32(repr(config).encode()):08x}"
        self._load = 0

    def app(self) -> web.Application:
        """An application that runs the engine while it is up."""
        app = web.Application(client_max_size=_LARGEST_BODY, middlewares=[_refusals])
        app.cleanup_ctx.append(self._drive)
        get, post = app.router.add_get, app.router.add_post
        for path, handler in self._generating().items():
            post(path, self._counted(handler))
        for path, handler in self._managing().items():
            post(path, handler)
        for path, handler in self._asking().items():
            get(path, handler)
        post("/ping", self._empty)
        return app

    def _generating(self) -> dict[str, Handler]:
        return {
            "/v1/completions": self._completions,
            "/v1/chat/completions": self._chat,
            "/v1/messages": self._messages,
            "/v1/responses": self._responses,
            "/v1/embeddings": self._embeddings,
            "/inference/v1/generate": self._generate,
        }

    def _managing(self) -> dict[str, Handler]:
        return {
            "/tokenize": self._tokenize,
            "/detokenize": self._detokenize,
            "/reset_prefix_cache": self._reset,
            "/v1/load_lora_adapter": self._load_adapter,
            "/v1/unload_lora_adapter": self._unload_adapter,
        }

    def _asking(self) -> dict[str, Handler]:
        return {
            "/v1/models": self._models,
            "/health": self._empty,
            "/ping": self._empty,
            "/version": self._version,
            "/load": self._server_load,
            "/metrics": self._metrics,
        }

    async def _drive(self, _: web.Application) -> AsyncIterator[None]:
        driver = asyncio.create_task(self.replica.run(), name="replica")
        yield
        driver.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await driver

    def _counted(self, handler: Handler) -> Handler:
        """The handler, with its requests in /load while they last."""

        async def counted(request: web.Request) -> web.StreamResponse:
            self._load += 1
            try:
                return await handler(request)
            finally:
                self._load -= 1

        return counted

    def _id(self, request: web.Request, prefix: str) -> str:
        return prefix + (request.headers.get("X-Request-Id") or f"{self._ids.getrandbits(64):016x}")

    async def _completions(self, request: web.Request) -> web.StreamResponse:
        body = decode(await request.read(), CompletionBody)
        model = self._names.resolve(body.model)
        job = self._planner.plan(
            prompts_of(body.prompt),
            body,
            id=self._id(request, "cmpl-"),
            model=model,
            default=_COMPLETION_TOKENS,
        )
        return await answer(
            request, self.replica, job, Completion(job, self._fingerprint), stream=bool(body.stream)
        )

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = decode(await request.read(), ChatBody)
        model = self._names.resolve(body.model)
        if body.max_completion_tokens is not None:
            body.max_tokens = body.max_completion_tokens
        prompt = tokenizer.encode_chat(
            body.messages, tools=body.tools, generate=body.add_generation_prompt is not False
        )
        job = self._planner.plan([prompt], body, id=self._id(request, "chatcmpl-"), model=model, default=None)
        dialect = Chat(job, self._fingerprint, self._config.engine.block_size)
        return await answer(request, self.replica, job, dialect, stream=bool(body.stream))

    async def _messages(self, request: web.Request) -> web.StreamResponse:
        try:
            body = decode(await request.read(), MessagesBody)
            model = self._names.resolve(body.model)
            prompt = tokenizer.encode_chat(messages.chat_of(body), tools=body.tools)
            body.n = 1
            job = self._planner.plan(
                [prompt], body, id=self._id(request, "chatcmpl-"), model=model, default=None
            )
        except Refused as refused:
            return json_response(messages.error_body(refused), refused.status)
        return await answer(request, self.replica, job, Messages(job), stream=bool(body.stream))

    async def _responses(self, request: web.Request) -> web.StreamResponse:
        body = decode(await request.read(), ResponsesBody)
        model = self._names.resolve(body.model)
        body.max_tokens, body.n = body.max_output_tokens, 1
        prompt = tokenizer.encode_chat(openresponses.chat_of(body), tools=body.tools)
        job = self._planner.plan([prompt], body, id=self._id(request, "resp_"), model=model, default=None)
        return await answer(request, self.replica, job, Responses(job, body), stream=bool(body.stream))

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
        )
        name = body.request_id or self._id(request, "generate-tokens-")
        prompt = np.array(body.token_ids, dtype=np.uint32)
        job = self._planner.plan([prompt], sampling, id=name, model=model, default=None)
        return await answer(request, self.replica, job, Generate(job), stream=bool(body.stream))

    async def _embeddings(self, request: web.Request) -> web.StreamResponse:
        """Each input costs its prefill; the vector is noise of the input's seed."""
        body = decode(await request.read(), EmbeddingsBody)
        model = self._names.resolve(body.model)
        prompts = prompts_of(body.input)
        name = self._id(request, "embd-")
        job = self._planner.plan(prompts, Sampling(max_tokens=1), id=name, model=model, default=None)
        try:
            for choice in job.choices:
                self.replica.submit(choice.ticket)
            await settle(job)
        finally:
            for choice in job.choices:
                self.replica.abort(choice.ticket)
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

    async def _tokenize(self, request: web.Request) -> web.StreamResponse:
        body = decode(await request.read(), TokenizeBody)
        self._names.resolve(body.model)
        if body.prompt is not None:
            tokens = tokenizer.encode(body.prompt)
        elif body.messages is not None:
            generate = body.add_generation_prompt is not False
            tokens = tokenizer.encode_chat(body.messages, tools=body.tools, generate=generate)
        else:
            raise bad_request("Send `prompt` or `messages`.", "prompt")
        ids = tokens.tolist()
        return json_response(
            {
                "count": len(ids),
                "max_model_len": self._config.max_model_len,
                "tokens": ids,
                "token_strs": [tokenizer.piece(each) for each in ids] if body.return_token_strs else None,
            }
        )

    async def _detokenize(self, request: web.Request) -> web.StreamResponse:
        body = decode(await request.read(), DetokenizeBody)
        return json_response({"prompt": tokenizer.decode(np.array(body.tokens, dtype=np.uint32))})

    async def _reset(self, _: web.Request) -> web.StreamResponse:
        return json_response({"success": self.replica.engine.cache.clear()})

    async def _load_adapter(self, request: web.Request) -> web.StreamResponse:
        body = decode(await request.read(), LoadAdapterBody)
        self._names.load(body.lora_name, body.lora_path)
        return web.Response(text=f"Success: LoRA adapter '{body.lora_name}' added successfully.")

    async def _unload_adapter(self, request: web.Request) -> web.StreamResponse:
        body = decode(await request.read(), UnloadAdapterBody)
        self._names.unload(body.lora_name)
        return web.Response(text=f"Success: LoRA adapter '{body.lora_name}' removed successfully.")

    async def _models(self, _: web.Request) -> web.StreamResponse:
        return json_response(self._names.listing())

    async def _empty(self, _: web.Request) -> web.StreamResponse:
        return web.Response()

    async def _version(self, _: web.Request) -> web.StreamResponse:
        return json_response({"version": VERSION})

    async def _server_load(self, _: web.Request) -> web.StreamResponse:
        return json_response({"server_load": self._load})

    async def _metrics(self, _: web.Request) -> web.StreamResponse:
        body = self.replica.page.render().encode()
        return web.Response(body=body, headers={"Content-Type": exposition.CONTENT_TYPE})


@web.middleware
async def _refusals(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refusals as JSON, unknown paths as the framework of the real server words them."""
    try:
        return await handler(request)
    except Refused as refused:
        return json_response(refused.body(), refused.status)
    except web.HTTPException as refused:
        if refused.status < 400:
            raise
        return json_response({"detail": refused.reason}, refused.status)


def _vector(prompt: Tokens, body: EmbeddingsBody) -> list[float] | str:
    """A unit-less vector, as numbers or as base64 of little-endian floats."""
    rng = random.Random(tokenizer.fingerprint(prompt))
    vector = [rng.uniform(-1.0, 1.0) for _ in range(body.dimensions or _DIMENSIONS)]
    if body.encoding_format == "base64":
        return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
    return vector
