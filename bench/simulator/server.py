"""The HTTP face of one replica: vLLM's routes."""

import contextlib
from collections.abc import AsyncIterator

import numpy as np
from aiohttp import web

from bench.simulator import exposition, tokenizer
from bench.simulator.adapters import Names
from bench.simulator.bodies import VERSION
from bench.simulator.config import ReplicaConfig
from bench.simulator.exposition import Page
from bench.simulator.generating import Generating, Handler
from bench.simulator.ranks import Ranks
from bench.simulator.requests import (
    DetokenizeBody,
    LoadAdapterBody,
    Refused,
    TokenizeBody,
    UnloadAdapterBody,
    bad_request,
    decode,
)
from bench.simulator.streaming import json_response

_LARGEST_BODY = 64 * 1024 * 1024


class Server:
    """Routes of one replica, which may have several engines."""

    def __init__(self, config: ReplicaConfig) -> None:
        self._config = config
        self._ranks = Ranks(config)
        self._names = Names(config)
        self._generating = Generating(config, self._names, self._ranks)
        self._page = Page(self._ranks.replicas)

    def app(self) -> web.Application:
        """An application that runs the engines while it is up."""
        app = web.Application(client_max_size=_LARGEST_BODY, middlewares=[_refusals])
        app.cleanup_ctx.append(self._drive)
        get, post = app.router.add_get, app.router.add_post
        for path, handler in (self._generating.routes() | self._managing()).items():
            post(path, handler)
        for path, handler in self._asking().items():
            get(path, handler)
        post("/ping", self._empty)
        return app

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
        async with contextlib.AsyncExitStack() as stack:
            for replica in self._ranks.replicas:
                await stack.enter_async_context(replica.running())
            yield

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
        cleared = [each.engine.cache.clear() for each in self._ranks.replicas]
        return json_response({"success": all(cleared)})

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
        return json_response({"server_load": self._generating.load})

    async def _metrics(self, _: web.Request) -> web.StreamResponse:
        body = self._page.render().encode()
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
