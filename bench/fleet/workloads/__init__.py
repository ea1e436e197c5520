"""Who asks what, and when: every workload by its name.

    conversation    the Mooncake trace: long prompts, histories that grow, real arrivals
    azure           Azure's arrivals and lengths, with prefixes that are made up
    shared-prefix   groups of prompts with long beginnings in common
    bursts          the same, ten times as dense for a tenth of the time
    lora            the same with shorter ones, over a dozen adapters
    chat            conversations of several turns between people and a model
    agentic         conversations of many turns between programs and a model: long contexts, short answers
    reasoning       short questions, very long answers
    unshared        prompts that have nothing in common

Each is made by a seed, for a rate and a number of requests: the same seed gives the same requests to every
policy.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from bench.fleet.traffic import Workload
from bench.fleet.workloads import groups, talks, traces
from bench.fleet.workloads.making import Order

TRACES: Final = {"conversation": "mooncake_conversation.jsonl", "azure": "azure_2023_conv.csv"}
"""Workload → the file that it is made from."""

WORKLOADS: Final[Mapping[str, Callable[[Order], Workload]]] = {
    "conversation": traces.conversation,
    "azure": traces.azure,
    "shared-prefix": groups.shared_prefix,
    "bursts": groups.bursts,
    "lora": groups.lora,
    "chat": talks.chat,
    "agentic": talks.agentic,
    "reasoning": groups.reasoning,
    "unshared": groups.unshared,
}


def make(name: str, *, rate: float, requests: int, seed: int, traces_at: Path) -> Workload:
    """The workload of that name: so many requests, that many a second on average.

    Raises FileNotFoundError where it is made from a trace that `traces_at` does not have.
    """
    trace = traces_at / TRACES[name] if name in TRACES else None
    return WORKLOADS[name](Order(name, rate, requests, seed, trace))
