"""The class under test; laws, and what they are tried on."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from hypothesis import strategies as st

from endpoint_picker.config import load
from endpoint_picker.config.schema import PluginBlock
from endpoint_picker.core.attributes import Key
from endpoint_picker.core.endpoints import EndpointTable
from endpoint_picker.observability.metrics import Metrics
from endpoint_picker.plugin import Plugin
from endpoint_picker.testing import facts
from endpoint_picker.testing.cases import Case, Trial, cases, without_data
from endpoint_picker.testing.pools import wiring_of
from endpoint_picker.testing.snapshot import changes, state_of


@dataclass(frozen=True)
class Subject:
    """A plugin class with parameters, and what is drawn for the facts that only its package knows."""

    kind: type[Plugin]
    parameters: Mapping[str, Any]
    own_facts: facts.Facts = field(default_factory=dict)
    metrics: Metrics = field(default_factory=Metrics)

    def make(self, table: EndpointTable) -> Any:
        """A fresh instance, always with the same seed."""
        name = self.kind.type
        block = PluginBlock(type=name, name=name, parameters=dict(self.parameters))
        parameters = load.parameters(block, self.kind.schema, source="check_plugin")
        return self.kind(name, parameters, wiring_of(table, metrics=self.metrics))

    def keys(self) -> tuple[Key[Any], ...]:
        """The facts that it reads."""
        plugin = self.make(EndpointTable())
        return tuple(dict.fromkeys((*plugin.requires(), *plugin.reads())))

    def words(self) -> tuple[str, ...]:
        """Every text in its parameters: names of labels, headers and attributes are among them."""
        return tuple(
            dict.fromkeys(_texts(msgspec.to_builtins(self.make(EndpointTable()).parameters, enc_hook=str)))
        )


def _texts(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case Mapping():
            for part in (*value, *value.values()):
                yield from _texts(part)
        case list() | tuple():
            for part in value:
                yield from _texts(part)


@dataclass(frozen=True)
class Law:
    """What must hold for each example; `name` finishes the sentence "breaks the law of"."""

    name: str
    holds: Callable[[Subject, Any], None]


@dataclass(frozen=True)
class Group:
    """Laws that are tried, in this order, on the same examples."""

    examples: Callable[[Subject], st.SearchStrategy[Any]]
    laws: tuple[Law, ...]


def whole(subject: Subject) -> st.SearchStrategy[Case]:
    return cases(subject.words(), subject.keys(), subject.own_facts, whole=True)


def with_holes(subject: Subject) -> st.SearchStrategy[Case]:
    return cases(subject.words(), subject.keys(), subject.own_facts, whole=False)


def require(holds: bool, text: str) -> None:
    """An assertion that survives `python -O`."""
    if not holds:
        raise AssertionError(text)


Ask = Callable[[Any, Trial, Case], Any]
"""Calls the plugin's method with what the trial has; answers its answer."""
Check = Callable[[Any, Trial], None]
"""Raises AssertionError unless the answer has the shape that is asked for."""


def answers(ask: Ask, check: Check) -> Callable[[Subject, Case], None]:
    """It answers in the right shape."""

    def holds(subject: Subject, case: Case) -> None:
        trial = case.trial()
        check(ask(subject.make(trial.table), trial, case), trial)

    return holds


def answers_without_data(ask: Ask, check: Check) -> Callable[[Subject, Case], None]:
    """It does so whatever is missing, be it everything."""
    asked = answers(ask, check)

    def holds(subject: Subject, case: Case) -> None:
        asked(subject, case)
        asked(subject, without_data(case))

    return holds


def changes_nothing(ask: Ask, *allowed: str) -> Callable[[Subject, Case], None]:
    """It leaves table, request and candidates as they were; `allowed` are the names of exceptions."""

    def holds(subject: Subject, case: Case) -> None:
        trial = case.trial()
        plugin = subject.make(trial.table)
        before = state_of(trial.table, trial.request, trial.candidates)
        ask(plugin, trial, case)
        after = state_of(trial.table, trial.request, trial.candidates)
        changed = changes(before, after, allowed=frozenset(allowed))
        require(not changed, f"changed {', '.join(changed)}")

    return holds
