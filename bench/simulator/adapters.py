"""Which model names a replica answers to: its base model and the LoRA adapters loaded at the moment."""

import time
from typing import Any

from bench.simulator.config import ReplicaConfig
from bench.simulator.requests import Refused


class Names:
    """The base model and its adapters, in the order of their loading."""

    def __init__(self, config: ReplicaConfig) -> None:
        self._config = config
        self._created = int(time.time())
        self._adapters = {name: name for name in config.loras}

    def resolve(self, model: str | None) -> str:
        """The name to answer under; no name means the base model, an unknown one is refused with 404."""
        base = self._config.model
        if not model or model == base:
            return base
        if model not in self._adapters:
            known = ", ".join((base, *self._adapters))
            raise Refused(
                404, "NotFoundError", f"The model `{model}` does not exist; served here: {known}.", "model"
            )
        return model

    def load(self, name: str, path: str) -> None:
        """Add an adapter; Refused when it is there already or the replica takes none."""
        if not self._config.lora:
            raise Refused(
                400, "BadRequestError", "This replica serves no adapters; start it with --enable-lora."
            )
        if name in self._adapters or name == self._config.model:
            raise Refused(400, "InvalidUserInput", f"The adapter '{name}' is loaded already.", "lora_name")
        self._adapters[name] = path

    def unload(self, name: str) -> None:
        """Remove an adapter; running requests go on."""
        if self._adapters.pop(name, None) is None:
            raise Refused(404, "NotFoundError", f"The adapter '{name}' is not loaded.", "lora_name")

    def listing(self) -> dict[str, Any]:
        """The body of /v1/models."""
        base = self._config.model
        entries = [self._entry(base, root=base, parent=None)]
        entries += [self._entry(name, root=path, parent=base) for name, path in self._adapters.items()]
        return {"object": "list", "data": entries}

    def _entry(self, name: str, *, root: str, parent: str | None) -> dict[str, Any]:
        return {
            "id": name,
            "object": "model",
            "created": self._created,
            "owned_by": "vllm",
            "root": root,
            "parent": parent,
            "max_model_len": self._config.max_model_len if parent is None else None,
            "permission": [self._permission(name)],
        }

    def _permission(self, name: str) -> dict[str, Any]:
        return {
            "id": f"modelperm-{name}",
            "object": "model_permission",
            "created": self._created,
            "allow_create_engine": False,
            "allow_sampling": True,
            "allow_logprobs": True,
            "allow_search_indices": False,
            "allow_view": True,
            "allow_fine_tuning": False,
            "organization": "*",
            "group": None,
            "is_blocking": False,
        }
