"""Profiles as written → profiles that run, with what is filled in."""

from endpoint_picker.catalog import TABLE, Catalog
from endpoint_picker.core.endpoints import Candidates, Mask, Vector
from endpoint_picker.core.request import Request
from endpoint_picker.plugin import Plugin
from tests.fakes.assembling import assembled, names, placed, plugin, profile, profiles, weights


class Both(Plugin):
    """`both-roles`."""

    type = "both-roles"

    def keep(self, request: Request, candidates: Candidates) -> Mask:
        return candidates.rows >= 0

    def score(self, request: Request, candidates: Candidates) -> Vector:
        return candidates.waiting()


def test_without_profiles_every_filter_scorer_and_picker_joins_one() -> None:
    blocks = [plugin(each) for each in ("queue-scorer", "decode-filter", "random-picker", "token-producer")]
    assembly = assembled({"plugins": blocks})
    assert weights(assembly) == {"queue-scorer": 1.0}
    assert [keeping.name for keeping in profile(assembly).filters] == ["decode-filter"]
    assert profile(assembly).picker.name == "random-picker"


def test_a_profile_without_picker_gets_one_that_is_declared() -> None:
    assembly = assembled(
        {
            "plugins": [plugin("queue-scorer", "queue"), plugin("random-picker", "any")],
            "schedulingProfiles": profiles(default=placed(queue=-1.5)),
        }
    )
    assert profile(assembly).picker.name == "any"
    assert weights(assembly) == {"queue": -1.5}
    assert "max-score-picker" not in assembly.instances


def test_an_empty_profile_takes_the_best_of_nothing() -> None:
    assembly = assembled({"schedulingProfiles": profiles(only=[])})
    assert weights(assembly, "only") == {}
    assert profile(assembly, "only").picker.name == "max-score-picker"


def test_filters_run_as_listed() -> None:
    order = ["zone", "prefill-filter", "decode-filter"]
    assembly = assembled(
        {
            "plugins": [
                plugin("decode-filter"),
                plugin("prefill-filter"),
                plugin("label-selector-filter", "zone"),
            ],
            "schedulingProfiles": profiles(p=placed(*order)),
        }
    )
    assert [keeping.name for keeping in profile(assembly, "p").filters] == order


def test_a_profile_may_list_what_has_no_effect_there() -> None:
    listed = ["tokenizer", "openai-parser", "single-profile-handler", "queue-scorer"]
    assembly = assembled(
        {
            "plugins": [
                *map(plugin, listed[:2]),
                plugin("single-profile-handler", junk=1),
                plugin("queue-scorer"),
            ],
            "schedulingProfiles": profiles(default=placed(*listed)),
        }
    )
    assert weights(assembly) == {"queue-scorer": 1.0}
    assert profile(assembly).filters == ()


def test_two_instances_of_a_type_live_side_by_side() -> None:
    assembly = assembled(
        {
            "plugins": [
                plugin("approx-prefix-cache-producer", "gpu"),
                plugin("prefix-cache-scorer", "exact", prefixMatchInfoProducerName="gpu"),
                plugin("prefix-cache-scorer", "guess"),
            ],
            "schedulingProfiles": profiles(default=placed(exact=3, guess=0.5)),
        }
    )
    assert weights(assembly) == {"exact": 3.0, "guess": 0.5}
    assert {"gpu", "approx-prefix-cache-producer"} <= set(names(assembly.producers))


def test_a_plugin_joins_a_profile_in_every_role_it_has() -> None:
    catalog = Catalog({**TABLE, Both.type: Both})
    found = profile(assembled({"plugins": [plugin(Both.type)]}, catalog=catalog))
    assert [keeping.name for keeping in found.filters] == ["both-roles"]
    assert [scoring.name for scoring in found.scorers] == ["both-roles"]
