"""What the pages for users say is so: examples load, links lead somewhere, the list of plugins is fresh."""

import re
from pathlib import Path
from typing import Final

import pytest

from endpoint_picker import catalog
from endpoint_picker.assemble import assemble
from endpoint_picker.commands import plugins
from endpoint_picker.config import load
from endpoint_picker.core.endpoints import EndpointTable
from endpoint_picker.datalayer import discovery
from tests.fakes.pool import wiring_of

ROOT: Final = Path(__file__).parents[1]
PAGES: Final = tuple(sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("envoy/*.md")]))
PLUGINS: Final = ROOT / "docs" / "plugins.md"


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def examples(start: str) -> list[str]:
    """The YAML examples of all pages that begin so."""
    found = [text for page in PAGES for text in re.findall(r"```yaml\n(.*?)```", text_of(page), re.DOTALL)]
    return [text for text in found if text.startswith(start)]


def test_every_example_of_a_configuration_runs() -> None:
    configurations = examples("apiVersion: ")
    assert len(configurations) >= 3
    for text in configurations:
        assert assemble(load.load(text), wiring_of(EndpointTable())).scheduler.profiles


def test_every_example_of_an_endpoints_file_loads() -> None:
    lists = examples("endpoints:")
    assert lists
    for text in lists:
        assert discovery.parse(text.encode(), "an example").endpoints


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)", text_of(page))
    assert [link for link in links if ":" not in link and not (page.parent / link).exists()] == []


def test_the_page_of_plugins_is_fresh() -> None:
    fresh = text_of(PLUGINS) == plugins.markdown(catalog.TABLE)
    assert fresh, "docs/plugins.md is not what the code says any more; run: make docs"
