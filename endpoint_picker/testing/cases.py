"""Pools and requests drawn at random, as plain data: each trial builds its own table and request from it."""

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from hypothesis import strategies as st

from endpoint_picker.core.attributes import Key
from endpoint_picker.core.decision import Decision, ProfileResult
from endpoint_picker.core.endpoints import Candidates, EndpointTable, Gauges
from endpoint_picker.core.request import Medium, Payload, Request, Usage
from endpoint_picker.testing import facts
from endpoint_picker.testing.pools import NOW, endpoint
from endpoint_picker.testing.snapshot import Noted

MOST_ENDPOINTS: Final = 5
WORDS: Final = ("a", "b", "decode", "prefill", "llm-d.ai/role", "default/pod-0", "10.0.0.1:8000")
"""What labels, headers and names are made of, beside the words in a plugin's own parameters."""
PATH: Final = "/v1/completions"


@dataclass(frozen=True, slots=True)
class Seen:
    """One endpoint, and what is known of it."""

    gauges: Gauges
    labels: Mapping[str, str]
    scalars: Mapping[str, float]
    """Further attributes."""
    in_flight: int
    stale: bool

    def __str__(self) -> str:
        known = {name: getattr(self.gauges, name) for name in Gauges.__slots__}
        told = ", ".join(
            f"{name}={value!r}" for name, value in known.items() if value not in (None, frozenset())
        )
        return f"{'stale ' if self.stale else ''}{told or 'no gauges'}, labels {dict(self.labels)}, " + (
            f"attributes {dict(self.scalars)}, in flight {self.in_flight}"
        )


@dataclass(frozen=True, slots=True)
class Trial:
    """What one call of a plugin gets."""

    table: EndpointTable
    request: Request
    candidates: Candidates


@dataclass(frozen=True, slots=True)
class Case:
    """A pool and a request; equal cases give equal trials."""

    endpoints: tuple[Seen, ...]
    rows: tuple[int, ...]
    """The candidates."""
    order: tuple[int, ...]
    """Another order of them, by position."""
    totals: tuple[float, ...]
    """Of each candidate, for pickers."""
    headers: Mapping[str, str]
    payload: Payload
    facts: Mapping[Key[Any], Any]
    usage: Usage

    def trial(self, *, rows: Sequence[int] | None = None) -> Trial:
        """A fresh table and request; `rows` are other candidates."""
        table = EndpointTable(capacity=facts.ROWS)
        table.replace(endpoint(i, seen.labels) for i, seen in enumerate(self.endpoints))
        for row, seen in enumerate(self.endpoints):
            _observe(table, row, seen)
        chosen = np.array(self.rows if rows is None else rows, np.int64)
        return Trial(table, self._request(), Candidates(table, chosen, NOW))

    def shuffled(self) -> tuple[int, ...]:
        return tuple(self.rows[position] for position in self.order)

    def _request(self) -> Request:
        request = Request("r-1", dict(self.headers), PATH, NOW, payload=copy.deepcopy(self.payload))
        request.target_model = request.model
        request.attributes = Noted()
        for key, fact in self.facts.items():
            request.attributes.write(key, copy.deepcopy(fact))
        return request

    def __str__(self) -> str:
        lines = [f"row {row}: {seen}" for row, seen in enumerate(self.endpoints)]
        lines.append(f"candidates {list(self.rows)}, in another order {list(self.shuffled())}")
        lines.append(f"totals {list(self.totals)}")
        lines.append(f"headers {dict(self.headers)}")
        lines.append(f"{self.payload}")
        lines += [f"fact {key}: {fact}" for key, fact in self.facts.items()]
        return "\n    ".join(lines)


def decision_of(trial: Trial) -> Decision:
    """The candidates in their order, the first two as picked; another profile took the last one."""
    rows = trial.candidates.rows.tolist()
    first, last = _result(trial, "default", rows[:2]), _result(trial, "prefill", rows[-1:])
    return Decision(first, {"default": first, "prefill": last}, prefill=last)


def _result(trial: Trial, profile: str, rows: list[int]) -> ProfileResult:
    scored = trial.candidates.rows
    chosen = tuple(trial.table[row] for row in rows)
    return ProfileResult(profile, tuple(rows), chosen, scored, np.zeros(len(scored)))


def _observe(table: EndpointTable, row: int, seen: Seen) -> None:
    table.observe(row, seen.gauges, -np.inf if seen.stale else NOW)
    table.in_flight[row] = table.unread[row] = seen.in_flight
    for name, value in seen.scalars.items():
        table.set_scalar(row, name, "some-producer", value)


# === drawing ===


def cases(
    words: Iterable[str], keys: Iterable[Key[Any]], own: facts.Facts, *, whole: bool
) -> st.SearchStrategy[Case]:
    """Whole: everything is known. Else whatever may be missing is missing now and then."""
    known = sorted({*WORDS, *words} - {""})
    kinds = {**facts.known(whole=whole), **own}
    drawn = {key: kinds[key.data_type] for key in keys if key.data_type in kinds}
    return st.builds(
        _case_of,
        st.lists(_seen(known, whole), min_size=1, max_size=MOST_ENDPOINTS),
        facts.BYTES,
        facts.BYTES,
        facts.BYTES,
        _headers(known, whole),
        _payloads(known) if whole else st.just(Payload()) | _payloads(known),
        st.fixed_dictionaries(drawn) if whole else st.fixed_dictionaries({}, optional=drawn),
        _USAGES,
    )


def _case_of(
    endpoints: list[Seen],
    left_out: bytes,
    places: bytes,
    totals: bytes,
    headers: Mapping[str, str],
    payload: Payload,
    known: Mapping[Key[Any], Any],
    usage: Usage,
) -> Case:
    rows = tuple(row for row in range(len(endpoints)) if left_out[row] % 3 != 1) or (0,)
    order = tuple(sorted(range(len(rows)), key=lambda position: -places[position]))
    weighed = tuple(_of(_TOTALS, totals[row]) for row in rows)
    return Case(tuple(endpoints), rows, order, weighed, headers, payload, known, usage)


def _seen(words: list[str], whole: bool) -> st.SearchStrategy[Seen]:
    """An endpoint is one draw of bytes, each of which chooses something: a draw for each takes too long."""
    return st.binary(min_size=16, max_size=16).map(lambda drawn: _seen_of(drawn, words, whole))


def _seen_of(drawn: bytes, words: list[str], whole: bool) -> Seen:
    counts: tuple[Any, ...] = (0.0, 1.0, 5.0, 1000.0) if whole else (None, 0.0, 1.0, 5.0, 1000.0, np.nan)
    shares: tuple[Any, ...] = (0.0, 0.25, 0.5, 1.0) if whole else (None, 0.0, 0.5, 1.0, np.nan)
    sizes: tuple[Any, ...] = (16, 64) if whole else (None, 16)
    scalars = (0.0, 0.5, 1.0, 7.0) if whole else (0.0, 0.5, 7.0, np.nan, -1.0)
    gauges = Gauges(
        waiting=_of(counts, drawn[0]),
        running=_of(counts, drawn[1]),
        kv_usage=_of(shares, drawn[2]),
        block_size=_of(sizes, drawn[3]),
        num_blocks=_of(sizes, drawn[4]),
        max_lora=_of((1, 2, 3) if whole else (None, 0, 1, 2), drawn[5]),
        lora_running=_of(_ADAPTERS, drawn[6]),
        lora_waiting=_of(_ADAPTERS, drawn[7]),
    )
    labels, attributes = _some(words, words, drawn[8:11], whole), _some(words, scalars, drawn[11:14], whole)
    return Seen(gauges, labels, attributes, _of((0, 1, 5, 1000), drawn[14]), not whole and drawn[15] % 3 == 1)


def _some(names: Sequence[str], values: Sequence[Any], drawn: bytes, whole: bool) -> dict[str, Any]:
    """A value for every name, or for the names that bits choose."""
    bits = int.from_bytes(drawn[1:])
    return {
        name: _of(values, drawn[0] + index)
        for index, name in enumerate(names)
        if whole or bits >> index % (8 * len(drawn[1:])) & 1
    }


def _of(choices: Sequence[Any], number: int) -> Any:
    return choices[number % len(choices)]


def _headers(words: list[str], whole: bool) -> st.SearchStrategy[dict[str, Any]]:
    names = [word.lower() for word in words]
    return st.binary(min_size=3, max_size=3).map(lambda drawn: _some(names, words, drawn, whole))


def _payloads(words: list[str]) -> st.SearchStrategy[Payload]:
    medium = st.builds(
        Medium, st.sampled_from(("image", "video", "audio")), st.binary(min_size=8, max_size=8)
    )
    return st.builds(
        Payload,
        model=st.sampled_from(("m", *words)),
        stream=st.booleans(),
        prompts=st.lists(st.binary(max_size=300) | facts.tokens(), max_size=2).map(tuple),
        max_output_tokens=st.none() | _SMALL,
        media=st.lists(medium, max_size=2).map(tuple),
    )


_ADAPTERS: Final[Sequence[frozenset[str]]] = tuple(map(frozenset, ("", "m", "a", "ab")))
_SMALL: Final = st.sampled_from((0, 1, 5, 1000))
_TOTALS: Final = (0.0, 0.5, 1.0, 3.25, -1.0)
_USAGES: Final = st.builds(Usage, st.none() | _SMALL, st.none() | _SMALL, st.none() | _SMALL)


def without_data(case: Case) -> Case:
    """The same pool of which nothing is known, for a request that says nothing."""
    bare = tuple(Seen(Gauges(), {}, {}, seen.in_flight, True) for seen in case.endpoints)
    return replace(case, endpoints=bare, headers={}, payload=Payload(), facts={}, usage=Usage())
