"""Which endpoints a request may use at all, whatever profile runs.

While a set of prefill and decode replicas is rolled out, those of two revisions must not serve one request
together. So a request is given one revision, before any profile sees it, that has a replica for each role.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from endpoint_picker.admission import selectors
from endpoint_picker.core.decision import Decision
from endpoint_picker.core.endpoints import Candidates, EndpointTable, Mask, Rows
from endpoint_picker.core.request import Request
from endpoint_picker.plugin import Parameters, Plugin, Wiring

NO_LABEL: Final = -1
UNKNOWN: Final = -2


class Scope(Parameters, frozen=True):
    label_selector: str
    """Whose endpoints are counted, in the text form of Kubernetes."""


class HeaderSelector(Parameters, frozen=True):
    """A header that names the value of a label."""

    name: str
    """Of the selector in metrics."""
    header_name: str
    label_key: str
    mode: Literal["strict", "prefer"]
    """strict: other endpoints are ruled out; prefer: the header is only told to the client."""

    def __post_init__(self) -> None:
        if not (self.name and self.header_name and self.label_key):
            raise ValueError("name, headerName and labelKey must not be empty")


class RequiredRoles(Parameters, frozen=True):
    values: tuple[str, ...] = ()
    """Roles that a revision must have, each with an endpoint."""


class RevisionGating(Parameters, frozen=True):
    mode: Literal["sum", "max-role", "disabled"]
    """What makes a revision likely: its endpoints in all required roles, or in the largest one of all."""
    require_roles: RequiredRoles = RequiredRoles()
    revision_label_key: str = "disaggregatedset.x-k8s.io/revision"
    role_label_key: str = "disaggregatedset.x-k8s.io/role"

    def __post_init__(self) -> None:
        if not (self.revision_label_key and self.role_label_key):
            raise ValueError("revisionLabelKey and roleLabelKey must not be empty; leave them out")
        if self.mode != "disabled" and not all(self.require_roles.values or ("",)):
            raise ValueError(f"mode {self.mode} needs requireRoles.values such as [prefill, decode]")


class RolloutParameters(Parameters, frozen=True):
    scope: Scope
    revision_gating: RevisionGating
    header_selectors: tuple[HeaderSelector, ...] = ()

    def __post_init__(self) -> None:
        if not self.scope.label_selector.strip():
            raise ValueError("scope.labelSelector is empty; write one such as app=vllm")
        for key in ("name", "header_name"):
            written = [getattr(selector, key).lower() for selector in self.header_selectors]
            if len(set(written)) < len(written):
                raise ValueError("headerSelectors: a name or headerName is there twice; rename one")


@dataclass(frozen=True, slots=True)
class _Column:
    """One label of all endpoints."""

    codes: Rows
    """Shape (capacity,), by table row; endpoints with equal values have equal codes."""
    values: Mapping[str, int]
    """Value → code."""

    def equal(self, value: str, rows: Rows) -> Mask:
        found: Mask = self.codes[rows] == self.values.get(value, UNKNOWN)
        return found


class Rollout(Plugin):
    """`disaggregatedset-rollout-screener`: one revision for each request, by weight or by header.

    A revision without an endpoint for each required role is no choice. The others are as likely as they
    have endpoints in these roles (`sum`), or in the role that has the most of all (`max-role`); those of
    which no candidate is left are not asked, since a hint or another header has decided already.
    """

    type = "disaggregatedset-rollout-screener"
    stability = "alpha"
    schema = RolloutParameters
    parameters: RolloutParameters

    def __init__(self, name: str, parameters: RolloutParameters, wiring: Wiring) -> None:
        super().__init__(name, parameters, wiring)
        try:
            self._counted = selectors.parsed(parameters.scope.label_selector)
        except ValueError as error:
            raise ValueError(f"scope.labelSelector: {error}") from error
        self._gating = parameters.revision_gating
        self._headers = [(each.header_name.lower(), each.label_key) for each in parameters.header_selectors]
        self._strict = [each for each in parameters.header_selectors if each.mode == "strict"]
        self._version = -1
        self._columns: dict[str, _Column] = {}
        self._weights: Rows = np.zeros(1, np.int64)
        self._shares: dict[str, float] = {}

    def screen(self, request: Request, candidates: Candidates) -> Mask:
        """Those that the strict headers name, and of them those of one revision."""
        self._look(candidates.table)
        mask = np.ones(len(candidates), np.bool_)
        for selector in self._strict:
            value = request.headers.get(selector.header_name.lower())
            if value:
                matching = self._columns[selector.label_key].equal(value, candidates.rows)
                if not matching.any():
                    self.wiring.metrics.no_strict_match(self.name, self.type, selector.name)
                mask &= matching
        return mask if self._gating.mode == "disabled" else self._of_one_revision(candidates, mask)

    def respond(self, request: Request, decision: Decision) -> Mapping[str, str]:
        """The labels of the endpoint that serves the request, each in its header."""
        table = self.wiring.table
        rows = table.rows_at(request.served) if request.served else ()
        labels = (table[rows[0]] if rows else decision.endpoint).labels
        return {header: labels[label] for header, label in self._headers if labels.get(label)}

    def _of_one_revision(self, candidates: Candidates, mask: Mask) -> Mask:
        """A header that names the revision has left only one to draw."""
        revisions = self._columns[self._gating.revision_label_key].codes[candidates.rows]
        # The last weight, which is 0, is that of endpoints without a revision.
        left: Mask = mask & (self._weights[revisions] > 0)
        if not left.any():
            return left
        choices = np.unique(revisions[left])
        chosen = self.wiring.rng.choices(choices.tolist(), self._weights[choices].tolist())
        one: Mask = left & (revisions == chosen[0])
        return one

    def _look(self, table: EndpointTable) -> None:
        """Labels change with the pool's membership only, so they are read once for each version of it."""
        if table.version == self._version:
            return
        gating = self._gating
        keys = {selector.label_key for selector in self._strict} | {gating.revision_label_key}
        self._columns = {key: _column(table, key) for key in keys}
        revisions = self._columns[gating.revision_label_key]
        self._weights = self._weighed(table, revisions)
        self._version = table.version
        if gating.mode != "disabled":
            self._tell(revisions)

    def _tell(self, revisions: _Column) -> None:
        """The share of each revision that is there, and 0 of those that are gone."""
        total = max(1, int(self._weights.sum()))
        shares = {revision: self._weights[code] / total for revision, code in revisions.values.items()}
        for revision in {**self._shares, **shares}:
            share = float(shares.get(revision, 0.0))
            self.wiring.metrics.revision_share(self.name, self.type, self._gating.mode, revision, share)
        self._shares = shares

    def _weighed(self, table: EndpointTable, revisions: _Column) -> Rows:
        """Weight of each revision by its code, 0 where a role is missing; one more 0 at the end."""
        roles = tuple(dict.fromkeys(self._gating.require_roles.values))
        counts = np.zeros((len(revisions.values) + 1, max(1, len(roles))), np.int64)
        for row in table.live.tolist():
            labels, code = table[row].labels, int(revisions.codes[row])
            role = labels.get(self._gating.role_label_key, "")
            if code != NO_LABEL and role in roles and self._counted(labels):
                counts[code, roles.index(role)] += 1
        counts[~counts.all(axis=1)] = 0
        # argmax takes the first of equal ones, which is the order in which the roles are written.
        weights: Rows = (
            counts[:, counts.sum(axis=0).argmax()] if self._gating.mode == "max-role" else counts.sum(axis=1)
        )
        return weights


def _column(table: EndpointTable, key: str) -> _Column:
    codes, values = np.full(table.capacity, NO_LABEL, np.int64), dict[str, int]()
    for row in table.live.tolist():
        value = table[row].labels.get(key)
        if value:
            codes[row] = values.setdefault(value, len(values))
    return _Column(codes, values)
