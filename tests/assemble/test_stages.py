"""Handlers of several stages are given their deciders, and deciders the producer that they read."""

from typing import Any

import pytest

from endpoint_picker.core.attributes import prefix_match
from endpoint_picker.core.errors import ConfigError
from endpoint_picker.scheduling.disagg.deciders import ByPrefix
from tests.fakes.assembling import Document, assembled, names, placed, plugin, profiles

HANDLER = "disagg-profile-handler"
DECIDER = "prefix-based-pd-decider"


def document(*plugins: Document, **by_name: list[Document]) -> Document:
    return {"plugins": list(plugins), "schedulingProfiles": profiles(**(by_name or {"decode": []}))}


def handler(**parameters: Any) -> Document:
    return plugin(HANDLER, **parameters)


def deciding(name: str) -> Document:
    return handler(deciders={"prefill": name})


def refusal(found: Document) -> str:
    with pytest.raises(ConfigError) as caught:
        assembled(found)
    return str(caught.value)


def producer_of(found: Document, name: str = DECIDER) -> str:
    """Whose matches a decider reads."""
    decider = assembled(found).instances[name]
    assert isinstance(decider, ByPrefix)
    return decider.match.producer


PAIR = (plugin("always-disagg-pd-decider", "yes"), plugin("queue-scorer"))


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (
            document(deciding("yess"), *PAIR),
            "the decider 'yess' of the prefill stage is not declared in plugins; did you mean \"yes\"?",
        ),
        (
            document(handler(deciders={"encode": "nobody"}), *PAIR),
            "the decider 'nobody' of the encode stage is not declared in plugins; valid: yes",
        ),
        (
            document(handler(deciderPluginName="yess"), *PAIR),
            "the decider 'yess' of the prefill stage is not declared in plugins; did you mean \"yes\"?",
        ),
        (
            document(deciding(DECIDER), *PAIR),
            f"the decider '{DECIDER}' of the prefill stage is not declared; add - type: {DECIDER} to plugins",
        ),
        (
            document(deciding("queue-scorer"), *PAIR),
            "'queue-scorer' of the prefill stage is a queue-scorer, which decides nothing; valid: yes",
        ),
        (
            document(deciding("queue-scorer"), plugin("queue-scorer")),
            "of the prefill stage is a queue-scorer, which decides nothing",
        ),
        (
            document(handler(), prefill=[], decoding=[]),
            "there is no profile 'decode', so nothing could be served; did you mean \"decoding\"?",
        ),
        (document(handler(), a=[]), "there is no profile 'decode', so nothing could be served; valid: a"),
        (
            document(handler(profiles={"decode": "d"})),
            "there is no profile 'd', so nothing could be served; ",
        ),
        ({"plugins": [handler()]}, "there is no profile 'decode'"),
    ],
)
def test_what_does_not_fit_is_refused(found: Document, message: str) -> None:
    said = refusal(found)
    assert said.startswith(f'epp.yaml:1: plugin "{HANDLER}" (type {HANDLER}): ')
    assert message in said


def test_the_older_handler_says_which_decider_it_lacks() -> None:
    said = refusal(document(plugin("pd-profile-handler")))
    assert f"the decider '{DECIDER}' of the prefill stage is not declared; add - type: {DECIDER}" in said


@pytest.mark.parametrize("first", [True, False])
def test_a_decider_may_be_declared_before_or_after_its_handler(first: bool) -> None:
    blocks = [deciding("yes"), PAIR[0]]
    assembly = assembled(document(*(reversed(blocks) if first else blocks), decode=[], prefill=[]))
    staged: Any = assembly.instances[HANDLER]
    assert staged.stages["prefill"].decider is not None
    assert staged.stages["encode"].decider is None


@pytest.mark.parametrize("found", [deciding("yes"), handler(deciders={"encode": "yes"})])
def test_producers_come_only_with_a_decider_that_reads_facts(found: Document) -> None:
    """On purpose: the reference adds a prefix index and tokens to every deployment of stages."""
    assembly = assembled(document(found, PAIR[0]))
    assert "approx-prefix-cache-producer" not in assembly.instances


def test_a_decider_by_prefix_is_given_what_it_reads() -> None:
    assembly = assembled(document(deciding(DECIDER), plugin(DECIDER, nonCachedTokens=1)))
    assert names(assembly.producers)[:2] == ["token-producer", "approx-prefix-cache-producer"]


APPROX = "approx-prefix-cache-producer"


@pytest.mark.parametrize(
    ("producers", "read"),
    [
        ([], APPROX),
        ([plugin(APPROX, "mine")], "mine"),
        ([plugin(APPROX, "mine"), plugin(APPROX)], APPROX),
        ([plugin(APPROX, "mine"), plugin(APPROX, "yours")], APPROX),
        ([plugin("multicluster-approx-prefix-cache-producer")], "multicluster-approx-prefix-cache-producer"),
        # Its matches tell where a group goes: nothing of it may be cached yet.
        ([plugin("burst-prefix-cache-producer")], APPROX),
        ([plugin("burst-prefix-cache-producer"), plugin(APPROX, "mine")], "mine"),
    ],
)
def test_the_producer_that_is_configured_is_read(producers: list[Document], read: str) -> None:
    found = document(deciding(DECIDER), plugin(DECIDER, nonCachedTokens=1), *producers)
    assembly = assembled(found, allow_experimental=True)
    decider = assembly.instances[DECIDER]
    assert isinstance(decider, ByPrefix)
    assert decider.match == assembly.match == prefix_match(read)
    assert read in assembly.instances


def test_a_producer_may_be_named() -> None:
    decider = plugin(DECIDER, nonCachedTokens=1, prefixMatchInfoProducerName="b")
    both = plugin(APPROX, "a"), plugin(APPROX, "b")
    assert producer_of(document(deciding(DECIDER), decider, *both)) == "b"
    assert 'did you mean "bb"' in refusal(document(deciding(DECIDER), decider, plugin(APPROX, "bb")))


def test_the_older_handler_names_it_for_a_decider_that_does_not() -> None:
    pd = plugin("pd-profile-handler", prefixMatchInfoProducerName="b")
    both = plugin(APPROX, "a"), plugin(APPROX, "b")
    assert producer_of(document(pd, plugin(DECIDER), *both)) == "b"
    named = plugin(DECIDER, prefixMatchInfoProducerName="a")
    assert producer_of(document(pd, named, *both)) == "a"


def test_stages_that_never_run_are_told(caplog: pytest.LogCaptureFixture) -> None:
    both = document(deciding("yes"), PAIR[0], decode=[], encode=[])
    assembled(both)
    assert [each.getMessage().partition("): ")[2] for each in caplog.records] == [
        "there is no prefill stage: there is no profile 'prefill'",
        "there is no encode stage: no decider is named for it",
    ]


def test_nothing_is_told_of_stages_that_nobody_wants(caplog: pytest.LogCaptureFixture) -> None:
    assembled(document(handler()))
    assembled(document(handler(stageOrder="prefill-first"), decode=[], prefill=placed()))
    assert caplog.records == []
