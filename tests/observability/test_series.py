"""Histograms count like the client library's own; twins, caps and cleaning keep their laws."""

from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client import Histogram as Reference

from endpoint_picker.observability import series

values = st.floats(0, 1e6) | st.sampled_from([0.0, 0.1, 1.0, 2.5, 10.0])


@given(st.lists(st.tuples(st.sampled_from("abc"), values), max_size=30))
@settings(max_examples=60, deadline=None)
def test_histogram_reads_like_the_librarys(observations: list[tuple[str, float]]) -> None:
    buckets = (0.1, 1.0, 2.5, 10.0)
    registry = CollectorRegistry()
    theirs = Reference("h", "[ALPHA] x", ["a"], buckets=buckets, registry=registry)
    ours = series.histograms("h", "x", ["a"], buckets=buckets)
    for label, observed in observations:
        theirs.labels(label).observe(observed)
        ours.cell(label).observe(observed)
    own = CollectorRegistry()
    own.register(ours)
    expected = generate_latest(registry).decode().split("# HELP h_created")[0]
    assert sorted(generate_latest(own).decode().splitlines()) == sorted(expected.splitlines())


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xyz"), values), max_size=30))
@settings(max_examples=60, deadline=None)
def test_twin_is_the_sum_over_the_labels_it_lacks(observations: list[tuple[str, str, float]]) -> None:
    twin = series.Twin("old", {"was_a": "a"})
    family = series.histograms("new", "x", ["a", "b"], buckets=(1, 10), twin=twin)
    alone = series.histograms("old", "x", ["was_a"], buckets=(1, 10))
    for a, b, observed in observations:
        family.cell(a, b).observe(observed)
        alone.cell(a).observe(observed)
    _, old = family.collect()
    (expected,) = alone.collect()
    told = {(s.name, *sorted(s.labels.items())): s.value for s in old.samples}
    wanted = {(s.name, *sorted(s.labels.items())): s.value for s in expected.samples}
    assert told.keys() == wanted.keys()
    for key, number in wanted.items():
        assert abs(told[key] - number) <= 1e-9 * max(1.0, abs(number))


def test_reading_the_page_does_not_change_it() -> None:
    family = series.counters("c_total", "x", ["a"], twin=series.Twin("old_total"))
    family.cell("1").value += 2
    family.cell("2").value += 3
    for _ in range(2):
        new, old = family.collect()
        assert [s.value for s in new.samples] == [2, 3]
        assert [s.value for s in old.samples] == [5]


def test_family_that_is_full_counts_on_under_other() -> None:
    family = series.gauges("g", "x", ["a", "b"], most=2)
    for n in range(5):
        family.cell("k", str(n)).value += 1
    (shown,) = family.collect()
    assert [(s.labels["a"], s.labels["b"], s.value) for s in shown.samples] == [
        ("k", "0", 1),
        ("k", "1", 1),
        ("other", "other", 3),
    ]


def test_values_that_read_the_same_are_one_series() -> None:
    family = series.counters("c_total", "x", ["a"])
    family.cell("line\nbreak").value += 1
    family.cell("line\rbreak").value += 1
    (shown,) = family.collect()
    assert [(s.labels["a"], s.value) for s in shown.samples] == [("line?break", 2)]


def test_fleeting_series_show_only_while_they_are_not_zero() -> None:
    family = series.fleeting("g", "x", ["a"], most=2)
    for n in range(10):
        family.cell(str(n)).value += 1
        if n != 4:
            family.cell(str(n)).value -= 1
    (shown,) = family.collect()
    assert [(s.labels["a"], s.value) for s in shown.samples] == [("4", 1)]


def test_fleeting_series_are_forgotten_when_room_is_needed() -> None:
    family = series.fleeting("g", "x", ["a"], most=2)
    spent = family.cell("spent")
    family.cell("kept").value = 5
    assert family.cell("kept").value == 5
    family.cell("new").value = 1
    assert family.cell("spent") is not spent
    assert family.cell("kept").value == 5


@given(st.lists(st.text(max_size=4), max_size=40), st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_distinct_values_are_capped_and_steady(names: list[str], limit: int) -> None:
    distinct = series.Distinct(limit)
    first = [distinct(name) for name in names]
    assert len(set(first) - {"", series.OTHER}) <= limit
    assert all(out in (series.clean(name), series.OTHER) for name, out in zip(names, first, strict=True))
    assert [distinct(name) for name in names if distinct(name) != series.OTHER] == [
        series.clean(name) for name in names if distinct(name) != series.OTHER
    ]


@given(st.text(alphabet=st.characters(exclude_categories=()), max_size=600))
@settings(max_examples=60, deadline=None)
def test_clean_text_is_short_printable_and_stays_clean(text: str) -> None:
    cleaned = series.clean(text)
    assert cleaned.isprintable()
    assert len(cleaned) == min(len(text), series.LONGEST_LABEL)
    assert series.clean(cleaned) == cleaned
    cleaned.encode()


def test_printable_names_are_left_alone() -> None:
    assert series.clean('meta/Llama "3" ünï 模型') == 'meta/Llama "3" ünï 模型'
