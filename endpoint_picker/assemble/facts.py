"""Facts and who writes them: producers that are missing are created, and each runs after those it reads."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from endpoint_picker.assemble.made import Made
from endpoint_picker.config import hints
from endpoint_picker.core import attributes
from endpoint_picker.core.attributes import Key, PrefixMatch, UncachedTokens
from endpoint_picker.plugin import Plugin, Producer

IN_FLIGHT: Final = "inflight-load-producer"
DEFAULT_PRODUCERS: Final[Mapping[str, str]] = {
    attributes.PREFIX_MATCH: "approx-prefix-cache-producer",
    attributes.IN_FLIGHT_LOAD: IN_FLIGHT,
    attributes.UNCACHED_TOKENS: IN_FLIGHT,
    attributes.TOKENIZED_PROMPT: "token-producer",
    attributes.ENCODER_MATCH: "mm-embeddings-cache-producer",
    attributes.LATENCY: "predicted-latency-producer",
    attributes.SESSION_ID: "session-id-producer",
}
"""Fact → the type, and the name, of the producer that is created for it."""

GROUPING: Final = frozenset({"burst-prefix-cache-producer"})
"""Types whose matches tell where a group of requests goes, not what is in a cache."""


def prefix_match(made: Made) -> Key[PrefixMatch]:
    """The fact by which the picker itself judges what is cached, where nothing names its producer.

    That of the producer of the default name; where there is none, but exactly one other, that one's.
    """
    usual = attributes.prefix_match()
    written = _produced(made)
    others = [
        key
        for key, plugin in written.items()
        if key.data_type == attributes.PREFIX_MATCH and plugin.type not in GROUPING
    ]
    return others[0] if len(others) == 1 else usual


def charge(made: Made) -> Key[UncachedTokens]:
    """The ledger charges by what a request costs, so somebody must say that in every configuration.

    A cost needs a prompt, so its tokens are no mere option here.
    """
    existing = (plugin for plugin in made.instances.values() if plugin.type == IN_FLIGHT)
    producer = next(existing, None) or made.ensure(IN_FLIGHT)
    tokens = attributes.tokenized_prompt()
    if tokens in producer.reads() and tokens not in _produced(made):
        _default_producer(made, tokens, producer)
    return attributes.uncached_tokens(producer.name)


def supply(made: Made) -> None:
    """Create the default producers of facts that are required and missing, and what those require."""
    waiting = list(made.instances.values())
    for consumer in waiting:
        missing = [key for key in consumer.requires() if key not in _produced(made)]
        # What is created here is looked at in turn.
        waiting.extend(_default_producer(made, key, consumer) for key in missing)


def _default_producer(made: Made, key: Key[Any], consumer: Plugin) -> Plugin:
    if DEFAULT_PRODUCERS.get(key.data_type) == key.producer:
        return made.ensure(key.producer, needed_by=consumer.name)
    others = [each.producer for each in _produced(made) if each.data_type == key.data_type]
    message = f"no default producer found for missing data key {key}, consumed by {consumer.name}"
    raise made.wrong(hints.with_hint(message, key.producer, others), at=made.path(consumer.name))


def _produced(made: Made) -> dict[Key[Any], Plugin]:
    return {key: plugin for plugin in made.instances.values() for key in plugin.produces()}


def ordered(made: Made) -> tuple[Producer, ...]:
    """Producers after those whose facts they require or read; else in the order of the configuration."""
    writers = _produced(made)
    pending = [plugin for plugin in made.instances.values() if isinstance(plugin, Producer)]
    order: list[Producer] = []
    while pending:
        ready = next((p for p in pending if not _needed(p, writers) & {id(q) for q in pending}), None)
        if ready is None:
            names = ", ".join(getattr(plugin, "name", "?") for plugin in pending)
            raise made.wrong(f"these producers need each other's facts in a cycle: {names}; break it")
        pending.remove(ready)
        order.append(ready)
    return tuple(order)


def _needed(producer: Any, writers: Mapping[Key[Any], Plugin]) -> set[int]:
    """Identities of the plugins whose facts a producer looks at, itself left out."""
    keys: Iterable[Key[Any]] = (*producer.requires(), *producer.reads())
    return {id(writers[key]) for key in keys if key in writers and writers[key] is not producer}
