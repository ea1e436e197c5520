"""Reads an endpoints file, strictly: its endpoints and the objectives of their requests.

A mistyped port or a label under a wrong key would send traffic to the wrong place without a word, so
whatever is not understood is an error that says where it stands and what would be right there.
"""

from typing import Any, Final, NamedTuple

from endpoint_picker.core.endpoints import Endpoint
from endpoint_picker.core.errors import ConfigError
from endpoint_picker.datalayer import pods, values
from endpoint_picker.datalayer.values import Place

FILE_KEYS: Final = ("endpoints", "objectives")
OBJECTIVE_KEYS: Final = ("name", "priority")
HIGHEST_PRIORITY: Final = (1 << 31) - 1
MOST: Final = 1 << 16
"""Endpoints of a file: a few bytes can ask for many."""


class Listing(NamedTuple):
    """What an endpoints file says."""

    endpoints: list[Endpoint]
    objectives: dict[str, int]
    """Name → priority."""


def read(document: Any, source: str, place: Place = values.address) -> Listing:
    """A document `{endpoints: [ENTRY], objectives: [{name, priority}]}`; for the entries see `pods`.

    `source` names the document in messages; `place` reads addresses. Raises ConfigError.
    """
    fields = values.fields(document, source, FILE_KEYS)
    objectives = fields.get("objectives")
    return Listing(
        _endpoints(fields.get("endpoints"), source, place),
        {} if objectives is None else _objectives(objectives, f"{source}: objectives"),
    )


def _endpoints(entries: Any, source: str, place: Place) -> list[Endpoint]:
    if not isinstance(entries, list):
        raise ConfigError(
            f"{source}: endpoints: {values.shown(entries)} is not a list; write endpoints: [] if none"
        )
    found: dict[str, Endpoint] = {}
    for number, entry in enumerate(entries):
        where = f"{source}: endpoints[{number}]"
        for endpoint in pods.read(entry, where, place):
            if endpoint.id in found:
                raise ConfigError(f"{where}.name: {endpoint.id} is there twice; names must be unique")
            found[endpoint.id] = endpoint
        if len(found) > MOST:
            raise ConfigError(f"{where}: makes more than {MOST} endpoints; write fewer")
    return list(found.values())


def _objectives(entries: Any, where: str) -> dict[str, int]:
    if not isinstance(entries, list):
        raise ConfigError(
            f"{where}: {values.shown(entries)} is not a list; write - {{name: batch, priority: -1}}"
        )
    found: dict[str, int] = {}
    for number, entry in enumerate(entries):
        place = f"{where}[{number}]"
        fields = values.fields(entry, place, OBJECTIVE_KEYS)
        name = values.name(fields.get("name"), f"{place}.name")
        if name in found:
            raise ConfigError(f"{place}.name: {name} is there twice; names must be unique")
        found[name] = _priority(fields.get("priority"), f"{place}.priority")
    return found


def _priority(value: Any, where: str) -> int:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if whole and abs(value) <= HIGHEST_PRIORITY:
        return int(value)
    what = "is missing" if value is None else f"{values.shown(value)} is no priority"
    raise ConfigError(f"{where}: {what}; write a whole number such as -1, of either sign and 31 bits")
