"""Handlers of several stages, and the deciders that they name, wherever in the file those are declared."""

import logging
from collections.abc import Collection

import msgspec

from endpoint_picker.assemble import facts
from endpoint_picker.assemble.made import Made
from endpoint_picker.config import hints
from endpoint_picker.plugin import Decider
from endpoint_picker.scheduling.disagg.deciders import ByPrefix
from endpoint_picker.scheduling.disagg.handlers import PrefillDecode, Staged

log = logging.getLogger(__name__)


def connect(made: Made, profiles: Collection[str]) -> None:
    """Give each handler its deciders, and each decider the producer that it reads.

    `profiles` are the names of those that there are. Raises ConfigError.
    """
    for handler in made.of(Staged):
        _check(made, handler, profiles)
        handler.connect({stage: _decider(made, handler, stage) for stage in handler.deciders})
    _name_producers(made)


def _check(made: Made, handler: Staged, profiles: Collection[str]) -> None:
    if handler.decode not in profiles:
        message = f"{_subject(handler)}: there is no profile '{handler.decode}', so nothing could be served"
        raise made.wrong(hints.with_hint(message, handler.decode, profiles), at=made.path(handler.name))
    for stage in handler.stages.values():
        wanted, there = stage.always or stage.stage in handler.deciders, stage.profile in profiles
        if wanted != there:
            missing = f"there is no profile '{stage.profile}'" if wanted else "no decider is named for it"
            where = made.config.at(made.path(handler.name))
            log.warning("%s: %s: there is no %s stage: %s", where, _subject(handler), stage.stage, missing)


def _decider(made: Made, handler: Staged, stage: str) -> Decider:
    deciders = {name: plugin for name, plugin in made.instances.items() if isinstance(plugin, Decider)}
    name = handler.deciders[stage]
    if name in deciders:
        return deciders[name]
    message = f"{_subject(handler)}: the decider '{name}' of the {stage} stage"
    other = made.instances.get(name)
    if other is not None:
        told = hints.with_hint(f"{message} is a {other.type}, which decides nothing", name, deciders)
    elif made.knows(name):
        told = f"{message} is not declared; add - type: {name} to plugins"
    else:
        told = hints.with_hint(f"{message} is not declared in plugins", name, deciders)
    raise made.wrong(told, at=f"{made.path(handler.name)}.parameters")


def _subject(handler: Staged) -> str:
    return f'plugin "{handler.name}" (type {handler.type})'


def _name_producers(made: Made) -> None:
    """Deciders that name no producer read the one of their handler, else the one that is configured."""
    for handler in made.of(PrefillDecode):
        for name in handler.deciders.values():
            _name_producer(made.instances[name], handler.parameters.prefix_match_info_producer_name)
    for decider in made.of(ByPrefix):
        _name_producer(decider, facts.prefix_match(made).producer)


def _name_producer(decider: object, producer: str) -> None:
    if isinstance(decider, ByPrefix) and not decider.parameters.prefix_match_info_producer_name:
        decider.parameters = msgspec.structs.replace(
            decider.parameters, prefix_match_info_producer_name=producer
        )
