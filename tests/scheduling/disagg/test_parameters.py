"""What configurations of stages may say, in both notations, and what is said of those that are wrong."""

from typing import Any

import pytest

from endpoint_picker.core.decision import Inline
from endpoint_picker.core.endpoints import EndpointTable
from endpoint_picker.core.errors import ConfigError
from endpoint_picker.plugin import Plugin
from endpoint_picker.scheduling.disagg.handlers import DisaggProfiles, PrefillDecode
from endpoint_picker.scheduling.disagg.parameters import Deciders, DisaggParameters, Profiles
from endpoint_picker.testing import make


def made(**parameters: Any) -> DisaggParameters:
    found = make(DisaggProfiles, EndpointTable(), **parameters).parameters
    assert isinstance(found, DisaggParameters)
    return found


def refusal(kind: type[Plugin], **parameters: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        make(kind, EndpointTable(), **parameters)
    return str(caught.value)


@pytest.mark.parametrize(
    ("written", "profiles", "deciders"),
    [
        ({}, Profiles(), Deciders()),
        ({"profiles": {}, "deciders": {}}, Profiles(), Deciders()),
        ({"profiles": {"decode": "d"}}, Profiles(decode="d"), Deciders()),
        ({"profiles": {"prefill": ""}}, Profiles(), Deciders()),
        ({"deciders": {"prefill": "p", "encode": "e"}}, Profiles(), Deciders("p", "e")),
        ({"decodeProfile": "d", "prefillProfile": "p"}, Profiles("d", "p"), Deciders()),
        ({"encodeProfile": "e", "decodeProfile": ""}, Profiles(encode="e"), Deciders()),
        ({"deciderPluginName": "old"}, Profiles(), Deciders(prefill="old")),
        ({"prefillDeciderPluginName": "p", "deciderPluginName": "old"}, Profiles(), Deciders(prefill="p")),
        ({"encodeDeciderPluginName": "e"}, Profiles(), Deciders(encode="e")),
    ],
)
def test_both_notations_say_the_same(written: dict[str, Any], profiles: Profiles, deciders: Deciders) -> None:
    found = made(**written)
    assert (found.profiles, found.deciders) == (profiles, deciders)
    assert found == made(profiles=vars_of(profiles), deciders=vars_of(deciders))


def vars_of(struct: Profiles | Deciders) -> dict[str, str]:
    return {name: getattr(struct, name) for name in struct.__struct_fields__}


@pytest.mark.parametrize(
    ("written", "nested", "flat"),
    [
        ({"profiles": {}, "decodeProfile": "d"}, "profiles", "decodeProfile"),
        ({"deciders": {"prefill": "p"}, "deciderPluginName": "p"}, "deciders", "deciderPluginName"),
        (
            {"profiles": {"decode": "d"}, "deciders": {}, "encodeProfile": "", "prefillProfile": "p"},
            "profiles and deciders",
            "prefillProfile, encodeProfile",
        ),
    ],
)
def test_a_mix_of_them_is_refused(written: dict[str, Any], nested: str, flat: str) -> None:
    said = refusal(DisaggProfiles, **written)
    assert f"parameters: {nested} (today's notation) and {flat} (the old one) exclude each other" in said


@pytest.mark.parametrize(
    ("spelling", "order"),
    [
        ("", "decode-first"),
        ("decode", "decode-first"),
        ("decode-first", "decode-first"),
        ("decode_first", "decode-first"),
        ("DecodeFirst", "decode-first"),
        ("prefill", "prefill-first"),
        ("PREFILL_FIRST", "prefill-first"),
        ("Prefill-First", "prefill-first"),
        ("prefillfirst", "prefill-first"),
    ],
)
def test_an_order_has_many_spellings(spelling: str, order: str) -> None:
    assert made(stageOrder=spelling).stage_order == order


@pytest.mark.parametrize("decider", [{"deciders": {"prefill": "p"}}, {"deciderPluginName": "p"}])
def test_nobody_decides_about_a_prefill_that_is_always_run(decider: dict[str, Any]) -> None:
    said = refusal(DisaggProfiles, stageOrder="prefill_first", **decider)
    assert "stageOrder is prefill-first, where every request has a prefill" in said
    assert "remove the decider p of the prefill, or write stageOrder: decode-first" in said
    assert made(stageOrder="prefill-first", deciders={"encode": "e"}).deciders == Deciders(encode="e")


@pytest.mark.parametrize("kind", [DisaggProfiles, PrefillDecode])
@pytest.mark.parametrize(
    ("written", "message"),
    [
        (
            {"disaggregation": "inlined"},
            "parameters.disaggregation: 'inlined' is not right here; did you mean",
        ),
        ({"inline": {"timout": "3s"}}, 'unknown key "parameters.inline.timout"; did you mean "timeout"?'),
        ({"inline": {"timeout": "0s"}}, "parameters.inline: timeout is 0 seconds; write at least 1ms"),
        ({"inline": {"timeout": "-1s"}}, "parameters.inline: timeout is -1 seconds"),
        (
            {"inline": {"timeout": 30}},
            "timeout is 3e-08 seconds; write at least 1ms, with a unit, such as 30s",
        ),
        ({"inline": {"timeout": "soon"}}, "parameters.inline.timeout: 'soon' is not a duration"),
        ({"inline": {"maxConcurrentPerEndpoint": 0}}, "maxConcurrentPerEndpoint is 0; write 1 or more"),
        (
            {"inline": {"scheme": "ftp"}},
            "parameters.inline.scheme: 'ftp' is not right here; valid: http, https",
        ),
        ({"inline": {"insecureSkipVerify": "no"}}, "parameters.inline.insecureSkipVerify: "),
    ],
)
def test_what_is_wrong_is_named(kind: type[Plugin], written: dict[str, Any], message: str) -> None:
    assert message in refusal(kind, **written)


@pytest.mark.parametrize(
    ("kind", "written", "message"),
    [
        (
            DisaggProfiles,
            {"stageOrder": "encode"},
            "stageOrder is 'encode'; write decode-first or prefill-first",
        ),
        (DisaggProfiles, {"profile": {}}, 'unknown key "parameters.profile"; did you mean "profiles"?'),
        (
            DisaggProfiles,
            {"profiles": {"decoder": "d"}},
            'unknown key "parameters.profiles.decoder"; did you mean "decode"?',
        ),
        (
            DisaggProfiles,
            {"deciders": {"decode": "d"}},
            'unknown key "parameters.deciders.decode"; did you mean "encode"?',
        ),
        (DisaggProfiles, {"primaryPort": 1}, 'unknown key "parameters.primaryPort"'),
        (PrefillDecode, {"deciderPluginName": ""}, "deciderPluginName is empty; name the plugin"),
        (PrefillDecode, {"primaryPort": 65536}, "primaryPort is 65536; write a port from 1 to 65535, or 0"),
        (PrefillDecode, {"primaryPort": -1}, "primaryPort is -1; write a port"),
        (PrefillDecode, {"profiles": {}}, 'unknown key "parameters.profiles"'),
    ],
)
def test_what_is_wrong_with_one_of_them_is_named(
    kind: type[Plugin], written: dict[str, Any], message: str
) -> None:
    assert message in refusal(kind, **written)


@pytest.mark.parametrize("timeout", ["2500ms", "2.5s", 2_500_000_000])
def test_inline_is_read(timeout: str | int) -> None:
    inline = {
        "timeout": timeout,
        "maxConcurrentPerEndpoint": 3,
        "scheme": "https",
        "insecureSkipVerify": True,
    }
    assert made(inline=inline).inline.meant() == Inline(2.5, 3, "https", False)


def test_inline_has_defaults() -> None:
    assert made().disaggregation == "sidecar"
    assert made().inline.meant() == Inline(30.0, 256, "http", True)


def test_inline_without_effect_is_told(caplog: pytest.LogCaptureFixture) -> None:
    made(inline={"timeout": "5s"})
    made(inline={"timeout": "5s"}, disaggregation="inline")
    (record,) = caplog.records
    assert "counts only with disaggregation: inline" in record.getMessage()
