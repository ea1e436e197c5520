"""Runs the laws over a plugin: those of each extension point that its class serves."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Flaky

from endpoint_picker.core.endpoints import EndpointTable
from endpoint_picker.core.errors import ConfigError
from endpoint_picker.plugin import Parameters, Plugin
from endpoint_picker.testing import facts as drawn
from endpoint_picker.testing.laws import bodies, deciding, observing
from endpoint_picker.testing.laws.subject import Group, Law, Subject

EXAMPLES: Final = 40
"""For each group of laws: the smallest counterexamples are found among the first."""

LAWS: Final[Mapping[str, tuple[Group, ...]]] = {
    "parse": bodies.PARSER,
    "read_headers": observing.HEADER_READER,
    "screen": deciding.SCREENER,
    "produce": observing.PRODUCER,
    "saturation": observing.DETECTOR,
    "admit": observing.ADMITTER,
    "decide": observing.DECIDER,
    "keep": deciding.FILTER,
    "score": deciding.SCORER,
    "pick": deciding.PICKER,
    "learn": observing.LEARNER,
    "prefilled": observing.PREFILL_WATCHER,
    "respond": observing.RESPONDER,
    "audit": observing.AUDITOR,
    "report": observing.REPORTER,
}
"""Method of an extension point → what is asked of it, in the order in which a request meets them."""


class Broken(AssertionError):
    """A law does not hold for an example."""

    def __init__(self, law: Law, what: str, example: object) -> None:
        super().__init__(f"breaks the law of {law.name}: {what}\n  example:\n    {example}")


def roles(kind: type[Plugin]) -> tuple[str, ...]:
    """The methods of a class that the kit has laws for."""
    return tuple(method for method in LAWS if hasattr(kind, method))


def check_plugin(kind: type[Plugin], /, *, facts: drawn.Facts | None = None, **parameters: Any) -> None:
    """Run the laws that fit the class. Raises AssertionError with the plugin, the law and an example.

    `parameters` are written as in a configuration file. `facts` says how values are drawn for data types
    of your own: data type → a hypothesis strategy, for arrays of `endpoint_picker.testing.facts.ROWS` rows.
    The same class always gets the same examples.
    """
    subject = Subject(kind, parameters, facts or {})
    found = roles(kind)
    try:
        _check_class(subject)
        if not found:
            raise AssertionError(f"serves no extension point: it has none of the methods {', '.join(LAWS)}")
        for group in (group for role in found for group in LAWS[role]):
            _search(subject, group)
        _check_successor(subject)
    except AssertionError as error:
        raise AssertionError(f"{kind.type} ({kind.__qualname__}) {error}") from (error.__cause__ or error)


def check_class(kind: type[Plugin], /, **parameters: Any) -> None:
    """The part that needs no extension point: it has a name, can be made, and can follow its like."""
    subject = Subject(kind, parameters)
    _check_class(subject)
    _check_successor(subject)


def _check_class(subject: Subject) -> None:
    kind = subject.kind
    for flaw in _flaws(kind):
        raise AssertionError(f"breaks the law of being complete: {flaw}")
    try:
        subject.make(EndpointTable())
    except (ConfigError, ValueError) as error:
        raise AssertionError(f"cannot be made with {dict(subject.parameters)}: {error}") from error


def _flaws(kind: Any) -> Iterator[str]:
    if not isinstance(getattr(kind, "type", None), str) or not kind.type:
        yield "it has no `type`, the name in configuration files"
    if not issubclass(kind, Plugin):
        yield "it does not derive from endpoint_picker.plugin.Plugin"
    elif kind.schema is not None and not issubclass(kind.schema, Parameters):
        yield "its `schema` does not derive from endpoint_picker.plugin.Parameters"


def _check_successor(subject: Subject) -> None:
    table = EndpointTable()
    try:
        subject.make(table).adopt(subject.make(table))
    except Exception as error:
        raise AssertionError(f"breaks the law of succession: adopt {_told(error)}") from error


def _search(subject: Subject, group: Group) -> None:
    """Try the laws of a group on many examples; what is raised in the end names the smallest."""

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        report_multiple_bugs=False,
        phases=(Phase.generate, Phase.shrink),
        print_blob=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(group.examples(subject))
    def trial(example: object) -> None:
        for law in group.laws:
            _try(law, subject, example)

    try:
        trial()
    except Broken as error:
        raise AssertionError(str(error)) from error.__cause__
    except Flaky as error:
        raise AssertionError("breaks the law of repeatability: an example fails now and then") from error


def _try(law: Law, subject: Subject, example: object) -> None:
    try:
        law.holds(subject, example)
    except AssertionError as error:
        raise Broken(law, str(error), example) from error
    except Exception as error:
        raise Broken(law, _told(error), example) from error


def _told(error: Exception) -> str:
    return f"raised {type(error).__name__}: {error}"
