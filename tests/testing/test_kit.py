"""The kit passes what is right, and names plugin, law and example of what is not."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from endpoint_picker.core.attributes import Key
from endpoint_picker.core.endpoints import Candidates
from endpoint_picker.core.request import Request
from endpoint_picker.plugin import Parameters, Plugin
from endpoint_picker.testing import check_plugin, roles
from endpoint_picker.testing.facts import ROWS
from endpoint_picker.testing.kit import LAWS
from tests.fakes import flawed
from tests.fakes.flawed import FLAWED, RIGHT


def said_of(kind: type[Plugin], /, **parameters: Any) -> str:
    with pytest.raises(AssertionError) as caught:
        check_plugin(kind, **parameters)
    return str(caught.value)


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_plugin_passes(name: str) -> None:
    assert len(roles(RIGHT[name])) == 1
    check_plugin(RIGHT[name])


@pytest.mark.parametrize(("kind", "law", "part"), FLAWED, ids=[f"{law}: {part}" for _, law, part in FLAWED])
def test_each_flaw_breaks_its_law(kind: type[Plugin], law: str, part: str) -> None:
    text = said_of(kind)
    assert text.startswith(f"flawed (Flawed) breaks the law of {law}: ")
    assert part in text.partition("example:")[0]
    assert text.partition("example:")[2].strip()


def test_every_role_has_a_flawed_plugin_for_each_of_its_laws() -> None:
    laws = {law.name for groups in LAWS.values() for group in groups for law in group.laws}
    assert sorted(laws - {law for _, law, _ in FLAWED}) == []


def test_the_example_is_as_small_as_can_be() -> None:
    by_zone = flawed.scorer(
        lambda request, candidates: np.array([float(e.labels["a"] == "a") for e in candidates])
    )
    example = said_of(by_zone).partition("example:")[2]
    assert example.split("\n")[1].strip() == "row 0: no gauges, labels {}, attributes {}, in flight 0"
    assert "row 1" not in example


class Window(Parameters, frozen=True):
    label: str
    width: float = 1.0

    def __post_init__(self) -> None:
        if self.width <= 0.0:
            raise ValueError("width is not positive; write 1 or more")


class ByLabel(Plugin):
    """`by-window`."""

    type = "by-window"
    schema = Window
    parameters: Window
    seen: set[str] = set()  # noqa: RUF012 the test reads what all instances saw

    def score(self, request: Request, candidates: Candidates) -> Any:
        self.seen.update(e.labels.get(self.parameters.label, "") for e in candidates)
        return np.full(len(candidates), min(1.0, self.parameters.width))


def test_parameters_are_written_as_in_a_file() -> None:
    check_plugin(ByLabel, label="rack", width=2)
    assert "rack" in ByLabel.seen, "labels are made of the words in the parameters"
    assert "cannot be made with {'label': 'rack', 'width': 0}" in said_of(ByLabel, label="rack", width=0)
    assert "width is not positive; write 1 or more" in said_of(ByLabel, label="rack", width=0)
    assert 'unknown key "parameters.lable"' in said_of(ByLabel, lable="rack")


class OwnFact(Plugin):
    """`own-fact`: reads what another producer of its package writes."""

    type = "own-fact"
    seen: set[str] = set()  # noqa: RUF012 the test reads what all instances saw

    def requires(self) -> Any:
        return (Key("Colours", "colour-producer"),)

    def score(self, request: Request, candidates: Candidates) -> Any:
        colours = request.attributes.read(Key[Any]("Colours", "colour-producer"))
        self.seen.add(type(colours).__name__)
        return np.zeros(len(candidates)) if colours is None else colours[candidates.rows]


def test_facts_of_ones_own_can_be_drawn() -> None:
    check_plugin(OwnFact)
    assert OwnFact.seen == {"NoneType"}
    colours = st.lists(st.floats(0.0, 1.0), min_size=ROWS, max_size=ROWS).map(np.array)
    check_plugin(OwnFact, facts={"Colours": colours})
    assert OwnFact.seen == {"NoneType", "ndarray"}
    assert "breaks the law of range" in _said_with_facts({"Colours": colours.map(lambda array: array + 2.0)})


def _said_with_facts(facts: Any) -> str:
    with pytest.raises(AssertionError) as caught:
        check_plugin(OwnFact, facts=facts)
    return str(caught.value)


def test_a_plugin_without_an_extension_point_is_told_the_methods() -> None:
    class Misspelt(Plugin):
        type = "misspelt"

        def scores(self, request: Request, candidates: Candidates) -> Any:
            return np.zeros(len(candidates))

    assert "serves no extension point: it has none of the methods parse, read_headers" in said_of(Misspelt)


def test_an_incomplete_class_is_told_what_it_lacks() -> None:
    class Nameless(Plugin):
        type = ""
        score = ByLabel.score

    class Loose(Plugin):
        type = "loose"
        schema = dict  # type: ignore[assignment]
        score = ByLabel.score

    class Stranger:
        type = "stranger"

    assert "it has no `type`" in said_of(Nameless)
    assert "its `schema` does not derive from endpoint_picker.plugin.Parameters" in said_of(Loose)
    assert "does not derive from endpoint_picker.plugin.Plugin" in said_of(Stranger)  # type: ignore[arg-type]


def test_a_successor_that_cannot_take_over_is_told() -> None:
    class Heir(Plugin):
        type = "heir"
        score = RIGHT["scorer"].score  # type: ignore[attr-defined]

        def adopt(self, old: Plugin) -> None:
            raise RuntimeError("no will")

    assert "heir" in said_of(Heir)
    assert "breaks the law of succession: adopt raised RuntimeError: no will" in said_of(Heir)


WITHOUT = """
import sys
sys.modules["hypothesis"] = None
try:
    import endpoint_picker.testing
except ImportError as error:
    print(error)
import endpoint_picker.cli
"""


def test_without_hypothesis_it_says_what_to_install() -> None:
    said = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=True)
    assert "pip install endpoint-picker[test]" in said.stdout
