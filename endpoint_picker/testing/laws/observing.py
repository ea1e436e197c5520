"""What is asked of plugins that read headers, write facts, measure, admit, decide, learn, respond, audit."""

import re
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from endpoint_picker.testing import facts
from endpoint_picker.testing.cases import Case, Trial, decision_of
from endpoint_picker.testing.laws.subject import (
    Ask,
    Check,
    Group,
    Law,
    answers,
    answers_without_data,
    changes_nothing,
    require,
    whole,
    with_holes,
)

FIELD_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
FACTS: Final = "request.attributes"
FIELDS: Final = "request.fields"


def _laws(ask: Ask, check: Check, *allowed: str, shape: str = "shape") -> tuple[Group, ...]:
    return (
        Group(whole, (Law(shape, answers(ask, check)),)),
        Group(
            with_holes,
            (
                Law("missing data", answers_without_data(ask, check)),
                Law("no mutation", changes_nothing(ask, *allowed)),
            ),
        ),
    )


def _anything(_: Any, __: Trial) -> None:
    """Nobody reads the answer."""


# === before the pick ===


def _read_headers(plugin: Any, trial: Trial, _: Case) -> Any:
    plugin.read_headers(trial.request)
    return trial.request.fairness_id


def _named(answer: Any, _: Trial) -> None:
    require(isinstance(answer, str) and bool(answer), f"set fairness_id to {answer!r}: it must be a name")


def _produce(plugin: Any, trial: Trial, _: Case) -> Any:
    before = {*trial.request.attributes.written}  # type: ignore[attr-defined] # the cases' own Noted
    plugin.produce(trial.request, trial.candidates)
    written = trial.request.attributes.written  # type: ignore[attr-defined]
    return {key: fact for key, fact in written.items() if key not in before}


def _by_row(answer: Any, trial: Trial) -> None:
    """Arrays about endpoints have an element for each row of the table, not for each candidate."""
    capacity = trial.table.capacity
    for key, fact in answer.items():
        wanted, arrays = facts.ARRAYS.get(key.data_type, (object, lambda _: ()))
        require(
            isinstance(fact, wanted), f"wrote {type(fact).__name__} as {key} instead of {wanted.__name__}"
        )
        for array in arrays(fact):
            fits = isinstance(array, np.ndarray) and array.shape == (capacity,)
            require(fits, f"wrote {np.shape(array)} as {key} for a table of capacity {capacity}")


def _saturation(plugin: Any, trial: Trial, _: Case) -> Any:
    return plugin.saturation(trial.candidates)


def _measure(answer: Any, _: Trial) -> None:
    # NaN is not from 0 up either.
    fits = isinstance(answer, float | int) and type(answer) is not bool and answer >= 0
    require(fits, f"answered {answer!r} instead of a number from 0 up")


def _admit(plugin: Any, trial: Trial, _: Case) -> Any:
    return plugin.admit(trial.request, trial.candidates)


def _text(answer: Any, _: Trial) -> None:
    require(isinstance(answer, str), f"answered {answer!r} instead of a text")


# === during the pick ===


def _decide(plugin: Any, trial: Trial, _: Case) -> Any:
    """With an endpoint that decodes, and before there is one."""
    rows: tuple[int | None, ...] = (int(trial.candidates.rows[0]), None)
    return [plugin.decide(trial.request, row) for row in rows]


def _truths(answer: Any, _: Trial) -> None:
    for each in answer:
        require(isinstance(each, bool | np.bool_), f"answered {each!r} instead of a truth value")


# === after the pick ===


def _learn(plugin: Any, trial: Trial, _: Case) -> Any:
    """In the order of a request's life: facts, the pick, and much later the endpoint that served it."""
    decision = decision_of(trial)
    if hasattr(plugin, "produce"):
        plugin.produce(trial.request, trial.candidates)
    plugin.learn(trial.request, decision)
    trial.request.let_go()
    plugin.learn_at(trial.request, int(trial.candidates.rows[-1]))


def _prefilled(plugin: Any, trial: Trial, _: Case) -> Any:
    """Told of a request that it has seen, and of one that it has not."""
    if hasattr(plugin, "learn"):
        _learn(plugin, trial, _)
    return plugin.prefilled(trial.request, int(trial.candidates.rows[0]))


def _respond(plugin: Any, trial: Trial, _: Case) -> Any:
    return plugin.respond(trial.request, decision_of(trial))


def _fields(answer: Any, _: Trial) -> None:
    require(isinstance(answer, Mapping), f"answered {answer!r} instead of header fields")
    for name, value in answer.items():
        require(isinstance(name, str) and isinstance(value, str), f"set {name!r} to {value!r}: not texts")
        require(bool(FIELD_NAME.fullmatch(name)), f"set {name!r}: names are in lower case")
        require(not set(value) & set("\r\n\0"), f"set {name!r} to {value!r}: values are one line")


def _audit(plugin: Any, trial: Trial, case: Case) -> Any:
    decision = decision_of(trial)
    return plugin.audit(trial.request, decision, decision.row, case.usage)


def _report(plugin: Any, trial: Trial, case: Case) -> Any:
    return plugin.report(trial.request, case.usage)


def _metadata(answer: Any, _: Trial) -> None:
    require(isinstance(answer, Mapping), f"answered {answer!r} instead of namespaces with their values")
    for namespace, values in answer.items():
        named = isinstance(namespace, str) and isinstance(values, Mapping)
        require(named, f"reported {values!r} in {namespace!r}: a namespace has names and values")
        for name, value in values.items():
            told = isinstance(name, str) and isinstance(value, str | float | int)
            require(told, f"reported {name!r} as {value!r}: values are texts, numbers or truths")


HEADER_READER: Final = _laws(_read_headers, _named, FACTS, "request.fairness_id", shape="a fairness id")
PRODUCER: Final = _laws(_produce, _by_row, FACTS, shape="one element for each row")
DETECTOR: Final = _laws(_saturation, _measure, shape="a number from 0 up")
ADMITTER: Final = _laws(_admit, _text, shape="a text")
DECIDER: Final = _laws(_decide, _truths, shape="a truth value")
LEARNER: Final = _laws(_learn, _anything, FACTS, FIELDS, "request.payload", shape="learning")
PREFILL_WATCHER: Final = _laws(_prefilled, _anything, FACTS, FIELDS, "request.payload", shape="watching")
RESPONDER: Final = _laws(_respond, _fields, shape="header fields")
AUDITOR: Final = _laws(_audit, _anything, FACTS, shape="auditing")
REPORTER: Final = _laws(_report, _metadata, shape="metadata")
