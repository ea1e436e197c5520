"""Reads which models a replica serves from the list that OpenAI's API has of them."""

from typing import Final

import msgspec

from endpoint_picker.core.endpoints import ServedModel
from endpoint_picker.datalayer.series import ExtractError
from endpoint_picker.plugin import Plugin

MOST: Final = 1000
"""Models of a list that are kept; a replica serves one, and adapters of it."""


class _Listed(msgspec.Struct):
    id: str
    parent: str | None = None


class _List(msgspec.Struct):
    data: list[_Listed]


_LIST: Final = msgspec.json.Decoder(_List)


class ModelsExtractor(Plugin):
    """`models-data-extractor`: the models and adapters that an endpoint serves."""

    type = "models-data-extractor"

    def extract(self, page: bytes, row: int) -> None:
        """Raises ExtractError for what is no list of models; an empty one is."""
        try:
            listed = _LIST.decode(page).data
        except (ValueError, RecursionError) as error:
            raise ExtractError(f"the page is no list of models: {error}") from error
        models = self.wiring.table.models
        models[row] = tuple(ServedModel(one.id, one.parent or "") for one in listed[:MOST])

    def forget(self, row: int) -> None:
        """A list that was good stays: models come and go with the replica, which then has another row."""
