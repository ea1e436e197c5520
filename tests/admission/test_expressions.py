"""Expressions over usage: values by hand, what is refused and where, and that nothing else gets out."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from endpoint_picker.admission.expressions import compiled
from endpoint_picker.core.request import Usage

USAGE = Usage(prompt_tokens=100, completion_tokens=20, cached_tokens=64)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("usage.prompt_tokens", 100),
        ("usage.completion_tokens", 20),
        ("usage.total_tokens", 120),
        ("usage.cached_tokens", 64),
        ("usage.prompt_tokens_details.cached_tokens", 64),
        ("usage.prompt_tokens + usage.completion_tokens\n", 120),
        ("usage.prompt_tokens+4*usage.completion_tokens", 180),
        ("(usage.prompt_tokens - usage.cached_tokens) * 2", 72),
        ("usage.prompt_tokens - usage.cached_tokens - 6", 30),  # from left to right: (100 - 64) - 6
        ("usage.prompt_tokens / 8 / 2", 6.25),
        ("7 + 20 % 6", 9),
        ("2 * -3 + 1", -5),
        ("--3", 3),
        ("0.25 * usage.prompt_tokens", 25.0),
        ("usage.completion_tokens > 10 ? usage.completion_tokens : 0", 20),
        ("usage.completion_tokens > 50 ? 1 : usage.prompt_tokens > 50 ? 2 : 3", 2),
        ("(true ? 1 : 2) + 3", 4),
    ],
)
def test_numbers(text: str, expected: float) -> None:
    found = compiled(text)
    assert found.kind == "number"
    assert found.run(USAGE) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("true", True),
        ("!true", False),
        ("usage.prompt_tokens >= 100", True),
        ("usage.prompt_tokens <= 99", False),
        ("usage.prompt_tokens < 101", True),
        ("usage.prompt_tokens > 100", False),
        ("usage.prompt_tokens == 100 && usage.completion_tokens != 20", False),
        ("true || false && false", True),  # as true || (false && false)
        ("(true || false) && false", False),
        ("(1 < 2) == true", True),
        ("has(usage.prompt_tokens) && has(usage.completion_tokens)", True),
        ("!has(usage.total_tokens)", False),
    ],
)
def test_truths(text: str, expected: bool) -> None:
    found = compiled(text)
    assert found.kind == "truth"
    assert found.run(USAGE) is expected


def test_what_was_not_reported_is_told_apart_and_counts_as_zero() -> None:
    embedding = Usage(prompt_tokens=8)
    assert compiled("usage.prompt_tokens + usage.completion_tokens").run(embedding) == 8
    assert compiled("usage.total_tokens").run(embedding) == 8
    assert compiled("has(usage.completion_tokens)").run(embedding) is False
    assert compiled("has(usage.total_tokens)").run(Usage()) is False
    assert compiled("has(usage.cached_tokens)").run(Usage(cached_tokens=0)) is True


def test_a_branch_that_is_not_taken_is_not_computed() -> None:
    assert compiled("has(usage.cached_tokens) ? 1 / usage.cached_tokens : 0").run(Usage()) == 0
    with pytest.raises(ArithmeticError):
        compiled("1 / usage.cached_tokens").run(Usage())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "column 1: a field such as usage.prompt_tokens is missing"),
        ("usage.prompt_tokens +", "column 22: a field such as"),
        (
            "usage.promt_tokens",
            'column 1: "usage.promt_tokens" is not known; did you mean "usage.prompt_tokens"?',
        ),
        ("1 + size(usage)", 'column 5: "size" is not known'),
        ("__import__", 'column 1: "__import__" is not known'),
        ("1 + $x", "column 5: '$' is not understood"),
        ('usage.prompt_tokens == "x"', "column 24: '\"' is not understood"),
        ("usage.prompt_tokens = 1", "column 21: '=' is not understood"),
        ("(1 + 2", 'column 7: ")" is missing'),
        ("1 2", 'column 3: "2" is not expected here'),
        ("1 + 2)", 'column 6: ")" is not expected here'),
        ("true ? 1", 'column 9: ":" is missing'),
        ("has usage.prompt_tokens", 'column 5: "(" is missing'),
        ("has(1)", "column 5: a field such as usage.prompt_tokens is missing"),
        ("1 + true", '"+" wants a number, not true or false'),
        ("true + 1", '"+" wants a number, not true or false'),
        ("1 && true", '"&&" wants true or false, not a number'),
        ("!1", '"!" wants true or false, not a number'),
        ("-true", '"-" wants a number'),
        ("1 ? 2 : 3", '"?" wants true or false, not a number'),
        ("true ? 2 : false", '":" wants a number, not true or false'),
        ("1 == true", '"==" wants a number, not true or false'),
        ("1 < 2 < 3", '"<" wants a number, not true or false'),
        ("(" * 51 + "1" + ")" * 51, "more than 50 levels"),
        ("-" * 51 + "1", "more than 50 levels"),
        ("1" * 501, "is 501 characters long; write at most 500"),
    ],
)
def test_what_is_wrong_is_told_with_its_column(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=r"column|characters") as caught:
        compiled(text)
    assert message in str(caught.value)


def test_the_longest_and_deepest_are_computed() -> None:
    assert compiled("+".join("1" * 250)).run(USAGE) == 250
    assert compiled("(" * 50 + "1" + ")" * 50).run(USAGE) == 1


WORDS = st.sampled_from(
    [*"(())?:+-*/%<!01x$", "<=", "==", "&&", "||", "2.5", "true", "has", "usage.prompt_tokens"]
)


@settings(max_examples=400, deadline=None)
@given(st.lists(WORDS, max_size=14).map(" ".join) | st.text(max_size=20))
def test_any_text_is_computed_or_refused(text: str) -> None:
    try:
        found = compiled(text)
    except ValueError:
        return
    try:
        value = found.run(USAGE)
    except ArithmeticError:
        return
    assert isinstance(value, bool) is (found.kind == "truth")
