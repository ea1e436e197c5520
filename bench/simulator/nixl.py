"""The words of the exchange between prefill and decode, as vLLM's NIXL connector has them in JSON.

The prefill replica gets `do_remote_decode`, and answers with where its blocks are; the decode replica gets
that answer as it is.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

log = logging.getLogger(__name__)

NEEDED: Final = (
    "remote_block_ids",
    "remote_engine_id",
    "remote_request_id",
    "remote_host",
    "remote_port",
)
"""Without one of these a prompt is computed where it is."""


@dataclass(frozen=True, slots=True)
class Source:
    """Who keeps a prompt's blocks, under which name."""

    engine_id: str
    request_id: str
    host: str
    port: str
    """As the client sent it: what is no port is found out when it is asked."""


def wants_keeping(params: Mapping[str, Any] | None) -> bool:
    """Whether another engine will decode what this one computes."""
    return bool(params and params.get("do_remote_decode"))


def source_of(params: Mapping[str, Any] | None) -> Source | None:
    """Where the prompt was computed; None when here, or when the client does not say where."""
    if not params or not params.get("do_remote_prefill"):
        return None
    missing = [key for key in NEEDED if params.get(key) in (None, [], "")]
    if missing:
        log.warning(
            "kv_transfer_params with do_remote_prefill lack %s, so the prompt is computed here; "
            "pass on what the prefill replica answered",
            ", ".join(missing),
        )
        return None
    return Source(*(str(params[key]) for key in NEEDED[1:]))


def cached_elsewhere(params: Mapping[str, Any] | None, prompt_tokens: int) -> int | None:
    """Prompt tokens that the prefill replica had in its cache; None when it did not say."""
    if not params or not params.get("do_remote_prefill"):
        return None
    count = params.get("remote_prefill_cached_tokens")
    if not isinstance(count, int) or isinstance(count, bool):
        return None
    return min(max(count, 0), prompt_tokens)


def handover(
    source: tuple[str, str, str, int], *, blocks: list[int], tokens: int, cached: int
) -> dict[str, Any]:
    """What the decode replica needs: engine id, request id, host and port; blocks, tokens, cached tokens."""
    engine_id, request_id, host, port = source
    return {
        "do_remote_prefill": True,
        "do_remote_decode": False,
        "remote_block_ids": [blocks],
        "remote_engine_id": engine_id,
        "remote_request_id": request_id,
        "remote_host": host,
        "remote_port": port,
        "tp_size": 1,
        "dcp_size": 1,
        "pp_size": 1,
        "remote_num_tokens": tokens,
        # Only decode replicas that hand blocks back tell a time here.
        "remote_blocks_expiry_time": None,
        "transfer_mode": "pull",
        "remote_prefill_cached_tokens": cached,
    }
