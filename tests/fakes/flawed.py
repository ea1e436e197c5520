"""Plugins with one flaw each, and what the kit must say of it; what they share is right."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from endpoint_picker.core import attributes
from endpoint_picker.core.attributes import Key, PrefixMatch
from endpoint_picker.core.decision import Decision
from endpoint_picker.core.endpoints import Candidates, Vector
from endpoint_picker.core.errors import BadRequest
from endpoint_picker.core.request import Payload, Request, Usage
from endpoint_picker.plugin import Parameters, Plugin

Answer = Callable[[Request, Candidates], Any]


class Most(Parameters, frozen=True):
    max_num_of_endpoints: int = 2


class _Flawed(Plugin):
    """Answers by a function; each use derives a class, for the kit takes classes."""

    type = "flawed"
    answer: Any


def deciding(method: str, answer: Answer) -> type[Plugin]:
    """A plugin with one method that takes a request and candidates."""

    def call(self: Any, request: Request, candidates: Candidates) -> Any:
        return answer(request, candidates)

    return type("Flawed", (_Flawed,), {method: call})


def scorer(answer: Answer) -> type[Plugin]:
    return deciding("score", answer)


def keeper(answer: Answer) -> type[Plugin]:
    return deciding("keep", answer)


def picker(answer: Callable[[Candidates, Vector], Any]) -> type[Plugin]:
    def pick(self: Any, request: Request, candidates: Candidates, totals: Vector) -> Any:
        return answer(candidates, totals)

    return type("Flawed", (_Flawed,), {"pick": pick, "schema": Most})


def producer(fact: Callable[[Request, Candidates], Any]) -> type[Plugin]:
    def produce(self: Any, request: Request, candidates: Candidates) -> None:
        request.attributes.write(attributes.prefix_match("flawed"), fact(request, candidates))

    return type("Flawed", (_Flawed,), {"produce": produce})


def reader(answer: Callable[[Request], Any]) -> type[Plugin]:
    def read_headers(self: Any, request: Request) -> None:
        answer(request)

    return type("Flawed", (_Flawed,), {"read_headers": read_headers})


def responder(answer: Any) -> type[Plugin]:
    def respond(self: Any, request: Request, decision: Decision) -> Any:
        return answer(request) if callable(answer) else answer

    return type("Flawed", (_Flawed,), {"respond": respond})


def detector(answer: Callable[[Candidates], Any]) -> type[Plugin]:
    def saturation(self: Any, candidates: Candidates) -> Any:
        return answer(candidates)

    return type("Flawed", (_Flawed,), {"saturation": saturation})


def learner(learn: Callable[[Request, Decision], Any], at: Callable[[Request, int], Any]) -> type[Plugin]:
    methods = {
        "learn": lambda _, request, decision: learn(request, decision),
        "learn_at": lambda _, request, row: at(request, row),
    }
    return type("Flawed", (_Flawed,), methods)


def auditor(audit: Callable[[Usage], Any]) -> type[Plugin]:
    def method(self: Any, request: Request, decision: Decision, row: int, usage: Usage) -> None:
        audit(usage)

    return type("Flawed", (_Flawed,), {"audit": method})


def watcher(prefilled: Callable[[Request, int], Any]) -> type[Plugin]:
    return type("Flawed", (_Flawed,), {"prefilled": lambda _, request, row: prefilled(request, row)})


def reporter(report: Callable[[Usage], Any]) -> type[Plugin]:
    def method(self: Any, request: Request, usage: Usage) -> Any:
        return report(usage)

    return type("Flawed", (_Flawed,), {"report": method})


class Reader:
    """A reader of responses that counts the chunks that hold a usage."""

    def __init__(self, finish: Callable[[list[bytes]], Any]) -> None:
        self._chunks: list[bytes] = []
        self._finish = finish

    def feed(self, chunk: bytes) -> None:
        self._chunks.append(chunk)

    def finish(self) -> Any:
        return self._finish(self._chunks)


def _parse(path: str, body: bytes) -> Payload:
    if b"model" not in body:
        raise BadRequest("no model")
    return Payload(model="m" if b'"m"' in body else "another/model", prompts=(b"x",))


def _rewrite(body: bytes, model: str) -> bytes:
    return body.replace(b'"m"', f'"{model}"'.encode())


def _usage(chunks: list[bytes]) -> Any:
    return Usage(prompt_tokens=len(b"".join(chunks)))


def parser(
    *,
    parse: Callable[[str, bytes], Any] = _parse,
    rewrite: Callable[[bytes, str], bytes] = _rewrite,
    usage: Callable[[list[bytes]], Any] = _usage,
    suffixes: Sequence[str] = ("v1/completions",),
) -> type[Plugin]:
    methods = {
        "suffixes": property(lambda _: suffixes),
        "parse": lambda _, path, body: parse(path, body),
        "rewrite": lambda _, body, model: rewrite(body, model),
        "usage": lambda _, streaming: Reader(usage),
    }
    return type("Flawed", (_Flawed,), methods)


def by_waiting(request: Request, candidates: Candidates) -> Vector:
    """A right scorer."""
    scores: Vector = 1.0 / (1.0 + candidates.waiting())
    return scores


def everybody(request: Request, candidates: Candidates) -> Any:
    """A right filter."""
    return np.ones(len(candidates), np.bool_)


def best(candidates: Candidates, totals: Vector) -> Any:
    """A right picker."""
    return candidates.rows[np.argsort(-totals, kind="stable")[:2]]


def nothing_held(request: Request, candidates: Candidates) -> PrefixMatch:
    """A right producer's fact."""
    return PrefixMatch(np.zeros(candidates.table.capacity, np.int64), 1, 16)


def then(action: Callable[[Request, Candidates], Any], answer: Answer) -> Answer:
    """The right answer, after something that must not be done."""

    def both(request: Request, candidates: Candidates) -> Any:
        action(request, candidates)
        return answer(request, candidates)

    return both


def _in_flight(_: Request, candidates: Candidates) -> None:
    candidates.table.in_flight[candidates.rows] += 1


def _fickle() -> type[Plugin]:
    """A scorer that remembers how often it was asked."""

    def score(self: Any, request: Request, candidates: Candidates) -> Vector:
        self.asked = getattr(self, "asked", 0) + 1
        return np.full(len(candidates), 1.0 / self.asked)

    return type("Flawed", (_Flawed,), {"score": score})


def _fact(key: Key[Any]) -> Answer:
    def score(request: Request, candidates: Candidates) -> Vector:
        match = request.attributes.read(key)
        assert match is not None, "nobody has produced it"
        return np.zeros(len(candidates))

    return score


def _needs_fact() -> type[Plugin]:
    key = attributes.prefix_match()
    kind = scorer(_fact(key))
    kind.requires = lambda _: (key,)  # type: ignore[method-assign, assignment]
    return kind


def _picks_beyond(candidates: Candidates, totals: Vector) -> Any:
    return np.array([candidates.table.capacity - 1])


def _changes_totals(candidates: Candidates, totals: Vector) -> Any:
    totals += 1.0
    return best(candidates, totals)


RIGHT: Final[Mapping[str, type[Plugin]]] = {
    "scorer": scorer(by_waiting),
    "filter": keeper(everybody),
    "screener": deciding("screen", everybody),
    "picker": picker(best),
    "producer": producer(nothing_held),
    "header reader": reader(lambda request: None),
    "responder": responder({"x-tokens": "5"}),
    "detector": detector(lambda candidates: 0.5),
    "admitter": deciding("admit", lambda *_: ""),
    "decider": deciding("decide", lambda *_: True),
    "learner": learner(lambda *_: None, lambda *_: None),
    "watcher": watcher(lambda *_: None),
    "auditor": auditor(lambda usage: None),
    "reporter": reporter(lambda usage: {"envoy.lb": {"tokens": 5.0}}),
    "parser": parser(),
}

FLAWED: Final[Sequence[tuple[type[Plugin], str, str]]] = [
    # scorers
    (scorer(lambda r, c: [0.5] * len(c)), "shape", "answered list"),
    (scorer(lambda r, c: None), "shape", "answered NoneType"),
    (scorer(lambda r, c: np.ones(len(c) + 1)), "shape", "instead of scores, float64["),
    (scorer(lambda r, c: np.ones((len(c), 1))), "shape", "float64["),
    (scorer(lambda r, c: np.ones(len(c), np.float32)), "shape", "answered float32["),
    (scorer(lambda r, c: c.table.kv_usage), "shape", "answered float64[8]"),
    (scorer(lambda r, c: 1 / 0), "shape", "raised ZeroDivisionError: division by zero"),
    (scorer(lambda r, c: np.full(len(c), 1.5)), "range", "not all are in 0..1"),
    (scorer(lambda r, c: -by_waiting(r, c)), "range", "not all are in 0..1"),
    (scorer(lambda r, c: np.full(len(c), np.nan)), "range", "scored [nan"),
    (scorer(lambda r, c: 1 / (1 + c.table.waiting[c.rows])), "missing data", "scored [nan"),
    (
        scorer(lambda r, c: np.array([1.0 + 0 * len(e.labels["a"]) for e in c])),
        "missing data",
        "KeyError: 'a'",
    ),
    (scorer(lambda r, c: np.full(len(c), 1.0 + 0 * len(r.headers["a"]))), "missing data", "KeyError: 'a'"),
    (_needs_fact(), "missing data", "nobody has produced it"),
    (scorer(lambda r, c: np.linspace(0, 1, len(c))), "permutation", "in the other order"),
    (scorer(then(_in_flight, by_waiting)), "no mutation", "changed table.in_flight"),
    (scorer(then(lambda r, c: setattr(r, "priority", 9), by_waiting)), "no mutation", "request.priority"),
    (
        scorer(then(lambda r, c: r.attributes.write(Key("x", "y"), 1), by_waiting)),
        "no mutation",
        "request.attributes",
    ),
    (_fickle(), "same question, same answer", "when it was asked again"),
    # filters and screeners
    (keeper(lambda r, c: [True] * len(c)), "shape", "instead of a mask, bool["),
    (keeper(lambda r, c: np.ones(len(c))), "shape", "answered float64["),
    (keeper(lambda r, c: c.rows), "shape", "answered int64["),
    (keeper(lambda r, c: np.array([e.labels["a"] != "" for e in c])), "missing data", "KeyError: 'a'"),
    (keeper(lambda r, c: np.arange(len(c)) == 0), "permutation", "in the other order"),
    (keeper(then(_in_flight, everybody)), "no mutation", "changed table.in_flight"),
    (deciding("screen", lambda r, c: True), "shape", "answered bool True"),
    (deciding("screen", then(_in_flight, everybody)), "no mutation", "changed table.in_flight"),
    # pickers
    (picker(lambda c, t: int(c.rows[0])), "shape", "answered int"),
    (picker(lambda c, t: c.rows[:0]), "shape", "answered int64[0]"),
    (picker(lambda c, t: np.array([0.0])), "shape", "answered float64[1]"),
    (picker(_picks_beyond), "rows among the candidates", "picked [7], which are no candidates"),
    (picker(lambda c, t: np.repeat(c.rows, 2)[:2]), "no duplicates", "a row comes twice"),
    (picker(lambda c, t: c.rows), "at most so many", "rows where maxNumOfEndpoints is 2"),
    (picker(_changes_totals), "no mutation", "changed the totals"),
    # the others
    (
        producer(lambda r, c: PrefixMatch(np.zeros(len(c), np.int64), 1, 16)),
        "one element for each row",
        "PrefixCacheMatchInfo/flawed for a table of capacity 8",
    ),
    (producer(lambda r, c: 5), "one element for each row", "wrote int as PrefixCacheMatchInfo/flawed"),
    (
        producer(then(lambda r, c: r.headers["a"], nothing_held)),
        "missing data",
        "raised KeyError: 'a'",
    ),
    (producer(then(_in_flight, nothing_held)), "no mutation", "changed table.in_flight"),
    (reader(lambda r: setattr(r, "fairness_id", "")), "a fairness id", "it must be a name"),
    (reader(lambda r: r.headers["a"]), "missing data", "raised KeyError: 'a'"),
    (reader(lambda r: setattr(r, "priority", 5)), "no mutation", "changed request.priority"),
    (responder(None), "header fields", "answered None"),
    (responder({"X-Tokens": "5"}), "header fields", "names are in lower case"),
    (responder({"x-tokens": 5}), "header fields", "not texts"),
    (responder({"x-tokens": "5\r\nx: y"}), "header fields", "values are one line"),
    (responder(lambda r: {"x-a": r.headers["a"]}), "missing data", "raised KeyError: 'a'"),
    (detector(lambda c: None), "a number from 0 up", "answered None"),
    (detector(lambda c: -0.5), "a number from 0 up", "answered -0.5"),
    (detector(lambda c: float(c.table.kv_usage[c.rows].mean())), "missing data", "answered nan"),
    (deciding("admit", lambda r, c: None), "a text", "answered None instead of a text"),
    (deciding("admit", lambda r, c: r.headers["a"]), "missing data", "raised KeyError: 'a'"),
    (deciding("decide", lambda r, row: 1), "a truth value", "answered 1 instead of a truth value"),
    (deciding("decide", lambda r, row: row > 0), "a truth value", "raised TypeError"),  # type: ignore[operator]
    (deciding("decide", lambda r, row: "a" in r.headers["a"]), "missing data", "raised KeyError: 'a'"),
    (learner(lambda r, d: 1 / 0, lambda *_: None), "learning", "raised ZeroDivisionError"),
    (learner(lambda *_: None, lambda r, row: r.payload.prompts[0]), "learning", "raised IndexError"),
    (learner(lambda r, d: r.headers["a"], lambda *_: None), "missing data", "raised KeyError: 'a'"),
    (watcher(lambda r, row: r.payload.prompts[3]), "watching", "raised IndexError"),
    (auditor(lambda usage: usage.prompt_tokens + 1), "auditing", "raised TypeError"),  # type: ignore[operator]
    (reporter(lambda usage: None), "metadata", "answered None"),
    (reporter(lambda usage: {"a": 5}), "metadata", "a namespace has names and values"),
    (reporter(lambda usage: {"a": {"b": None}}), "metadata", "values are texts, numbers"),
    (parser(suffixes=("/v1/completions",)), "path suffixes", "a suffix has no leading slash"),
    (parser(suffixes="v1"), "path suffixes", "not a sequence of texts"),
    (parser(parse=lambda path, body: body.decode()), "any bytes", "instead of a Payload"),
    (parser(parse=lambda path, body: Payload(model=body)), "any bytes", "read the model b"),  # type: ignore[arg-type]
    (parser(parse=lambda p, b: Payload(prompts=("text",))), "any bytes", "a prompt is bytes"),  # type: ignore[arg-type]
    (parser(rewrite=lambda body, model: body), "rewriting", "rewrote the model to 'm'"),
    (parser(usage=lambda chunks: None), "any response", "reported None"),
    (parser(usage=lambda chunks: Usage(prompt_tokens=0.5)), "any response", "whole numbers"),  # type: ignore[arg-type]
    (parser(usage=lambda chunks: chunks[3]), "any response", "raised IndexError"),
    (parser(usage=lambda chunks: Usage(len(chunks))), "chunks end anywhere", "but Usage(prompt_tokens=1"),
]
"""Class, the law that it breaks, and a part of what is said of it."""
