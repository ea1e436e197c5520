"""What is asked of screeners, filters, scorers and pickers: arrays that answer for the candidates."""

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from endpoint_picker.testing.cases import Case, Trial
from endpoint_picker.testing.laws.subject import (
    Ask,
    Check,
    Group,
    Law,
    Subject,
    answers,
    answers_without_data,
    changes_nothing,
    require,
    whole,
    with_holes,
)


def _shown(answer: Any) -> str:
    """An answer as a message shows it."""
    if isinstance(answer, np.ndarray):
        return f"{answer.dtype}{list(answer.shape)}"
    return f"{type(answer).__name__} {answer!r:.80}"


def _array(answer: Any, dtype: type[np.generic], length: int, what: str) -> None:
    fits = isinstance(answer, np.ndarray) and answer.dtype == dtype and answer.shape == (length,)
    require(fits, f"answered {_shown(answer)} instead of {what}, {np.dtype(dtype)}[{length}]")


def _same(ask: Ask) -> Callable[[Subject, Case], None]:
    """The answer about an endpoint does not depend on where it stands among the candidates."""

    def holds(subject: Subject, case: Case) -> None:
        first, other = case.trial(), case.trial(rows=case.shuffled())
        straight = ask(subject.make(first.table), first, case)
        shuffled = ask(subject.make(other.table), other, case)
        expected = straight[list(case.order)]
        equal = np.allclose(shuffled.astype(float), expected.astype(float), rtol=1e-9, atol=1e-12)
        require(
            equal, f"answered {straight} for the rows {list(case.rows)}, but {shuffled} in the other order"
        )

    return holds


def _again(ask: Ask) -> Callable[[Subject, Case], None]:
    """Asked twice, it says the same."""

    def holds(subject: Subject, case: Case) -> None:
        trial = case.trial()
        plugin = subject.make(trial.table)
        first = np.array(ask(plugin, trial, case))
        second = ask(plugin, trial, case)
        require(np.array_equal(first, second), f"answered {first}, and {second} when it was asked again")

    return holds


# === masks ===


def _keep(plugin: Any, trial: Trial, _: Case) -> Any:
    return plugin.keep(trial.request, trial.candidates)


def _screen(plugin: Any, trial: Trial, _: Case) -> Any:
    return plugin.screen(trial.request, trial.candidates)


def _mask(answer: Any, trial: Trial) -> None:
    _array(answer, np.bool_, len(trial.candidates), "a mask")


def _masks(ask: Ask) -> tuple[Group, ...]:
    return (
        Group(whole, (Law("shape", answers(ask, _mask)),)),
        Group(
            with_holes,
            (
                Law("missing data", answers_without_data(ask, _mask)),
                Law("permutation", _same(ask)),
                Law("no mutation", changes_nothing(ask)),
            ),
        ),
    )


FILTER: Final = _masks(_keep)
SCREENER: Final = _masks(_screen)

# === scores ===


def _score(plugin: Any, trial: Trial, _: Case) -> Any:
    return plugin.score(trial.request, trial.candidates)


def _scores(answer: Any, trial: Trial) -> None:
    _array(answer, np.float64, len(trial.candidates), "scores")


def _in_range(answer: Any, trial: Trial) -> None:
    _scores(answer, trial)
    require(bool(((answer >= 0.0) & (answer <= 1.0)).all()), f"scored {answer}: not all are in 0..1")


SCORER: Final = (
    Group(whole, (Law("shape", answers(_score, _scores)), Law("range", answers(_score, _in_range)))),
    Group(
        with_holes,
        (
            Law("missing data", answers_without_data(_score, _in_range)),
            Law("permutation", _same(_score)),
            Law("no mutation", changes_nothing(_score)),
            Law("same question, same answer", _again(_score)),
        ),
    ),
)

# === picks ===


def _pick(plugin: Any, trial: Trial, case: Case) -> Any:
    return plugin.pick(trial.request, trial.candidates, np.array(case.totals))


def _rows(answer: Any, _: Trial) -> None:
    fits = isinstance(answer, np.ndarray) and answer.dtype.kind == "i" and answer.ndim == 1 and answer.size
    require(bool(fits), f"answered {_shown(answer)} instead of one table row or more, int64[n]")


def _among(answer: Any, trial: Trial) -> None:
    _rows(answer, trial)
    strangers = sorted({*answer.tolist()} - {*trial.candidates.rows.tolist()})
    require(not strangers, f"picked {strangers}, which are no candidates")


def _once(answer: Any, trial: Trial) -> None:
    _among(answer, trial)
    require(len({*answer.tolist()}) == len(answer), f"picked {answer.tolist()}: a row comes twice")


def _most(subject: Subject, case: Case) -> None:
    """No more rows than the parameter `maxNumOfEndpoints` allows, where there is one."""
    trial = case.trial()
    plugin = subject.make(trial.table)
    most = max(1, getattr(plugin.parameters, "max_num_of_endpoints", len(case.rows)))
    picked = len(_pick(plugin, trial, case))
    require(picked <= most, f"picked {picked} rows where maxNumOfEndpoints is {most}")


def _keeps_totals(subject: Subject, case: Case) -> None:
    trial, totals = case.trial(), np.array(case.totals)
    subject.make(trial.table).pick(trial.request, trial.candidates, totals)
    require(totals.tolist() == list(case.totals), f"changed the totals to {totals}")


def _law(name: str, check: Check) -> Law:
    return Law(name, answers(_pick, check))


PICKER: Final = (
    Group(
        whole,
        (
            _law("shape", _rows),
            _law("rows among the candidates", _among),
            _law("no duplicates", _once),
            Law("at most so many", _most),
        ),
    ),
    Group(
        with_holes,
        (
            Law("missing data", answers_without_data(_pick, _once)),
            Law("no mutation", changes_nothing(_pick)),
            Law("no mutation", _keeps_totals),
        ),
    ),
)
