import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from endpoint_picker.core.endpoints import Endpoint, ServedModel
from endpoint_picker.datalayer.models import MOST, ModelsExtractor
from endpoint_picker.datalayer.series import ExtractError
from endpoint_picker.plugin import Extractor
from tests.fakes.extracting import extractor

LIST = {
    "object": "list",
    "data": [
        {"id": "base", "object": "model", "created": 1, "owned_by": "vllm", "parent": None, "permission": []},
        {"id": "sql", "object": "model", "created": 2, "owned_by": "vllm", "parent": "base"},
    ],
}


def read(page: bytes) -> tuple[ServedModel, ...]:
    plugin = extractor(ModelsExtractor)
    plugin.extract(page, 0)
    found: tuple[ServedModel, ...] = plugin.wiring.table.models[0]
    return found


def test_models_and_their_adapters_are_read() -> None:
    assert read(json.dumps(LIST).encode()) == (ServedModel("base"), ServedModel("sql", "base"))


def test_it_is_an_extractor() -> None:
    assert isinstance(extractor(ModelsExtractor), Extractor)


def test_a_replica_may_serve_nothing() -> None:
    assert read(b'{"data":[]}') == ()


def test_no_more_are_kept_than_a_replica_can_serve() -> None:
    page = {"data": [{"id": str(number)} for number in range(MOST + 5)]}
    assert len(read(json.dumps(page).encode())) == MOST


@pytest.mark.parametrize(
    "page", [b"", b"{}", b"[]", b"<html>", b'{"data":5}', b'{"data":[{"id":7}]}', b'{"data":[{}]}']
)
def test_a_page_that_is_no_list_is_an_error_and_changes_nothing(page: bytes) -> None:
    plugin = extractor(ModelsExtractor)
    plugin.extract(json.dumps(LIST).encode(), 0)
    with pytest.raises(ExtractError, match="no list of models"):
        plugin.extract(page, 0)
    plugin.forget(0)
    assert len(plugin.wiring.table.models[0]) == 2


def test_another_endpoint_in_the_row_serves_what_it_says_itself() -> None:
    plugin = extractor(ModelsExtractor)
    plugin.extract(json.dumps(LIST).encode(), 0)
    table = plugin.wiring.table
    table.replace([Endpoint("other", "10.0.0.2", 8000)])
    assert table.models[0] == ()
    table.replace([Endpoint(str(n), f"10.0.1.{n}", 8000) for n in range(40)])
    assert len(table.models) == table.capacity


@given(
    st.binary(max_size=60)
    | st.recursive(st.none() | st.text(), st.lists, max_leaves=4).map(
        lambda value: json.dumps({"data": value}).encode()
    )
)
def test_whatever_comes_is_a_list_or_an_error(page: bytes) -> None:
    with contextlib.suppress(ExtractError):
        assert isinstance(read(page), tuple)
