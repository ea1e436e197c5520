"""Which endpoints a request may use at all, whatever profile runs.

While a set of prefill and decode replicas is rolled out, those of two revisions must not serve one request
together. So a request is given one revision, before any profile sees it, that has a replica for each role.
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np

from endpoint_picker.admission import selectors
from endpoint_picker.core.decision import Decision
from endpoint_picker.core.endpoints import Candidates, EndpointTable, Mask, Rows
from endpoint_picker.core.labels import ABSENT, Numbered, numbered
from endpoint_picker.core.request import Request
from endpoint_picker.plugin import Parameters, Plugin, Wiring


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
        keys = {each.label_key for each in self._strict} | {self._gating.revision_label_key}
        self._labels = {key: numbered(key) for key in keys}
        self._version = -1
        self._weights: Rows = np.zeros(1, np.int64)
        self._shares: dict[str, float] = {}

    def screen(self, request: Request, candidates: Candidates) -> Mask:
        """Those that the strict headers name, and of them those of one revision."""
        self._look(candidates.table)
        mask = np.ones(len(candidates), np.bool_)
        for selector in self._strict:
            value = request.headers.get(selector.header_name.lower())
            if value:
                labels = self._labels[selector.label_key].of(candidates.table)
                matching: Mask = labels.rows[candidates.rows] == labels.number(value)
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
        labels = self._labels[self._gating.revision_label_key].of(candidates.table)
        revisions = labels.rows[candidates.rows]
        # The last weight, which is 0, is that of endpoints without a revision.
        left: Mask = mask & (self._weights[revisions] > 0)
        if not left.any():
            return left
        choices = np.unique(revisions[left])
        chosen = self.wiring.rng.choices(choices.tolist(), self._weights[choices].tolist())
        one: Mask = left & (revisions == chosen[0])
        return one

    def _look(self, table: EndpointTable) -> None:
        """Weigh the revisions, and tell of them, once for each version of the table."""
        if table.version == self._version:
            return
        revisions = self._labels[self._gating.revision_label_key].of(table)
        self._weights = self._weighed(table, revisions)
        self._version = table.version
        if self._gating.mode != "disabled":
            self._tell(revisions)

    def _tell(self, revisions: Numbered) -> None:
        """The share of each revision that is there, and 0 of those that are gone."""
        total = max(1, int(self._weights.sum()))
        shares = {revision: self._weights[code] / total for revision, code in revisions.numbers.items()}
        for revision in {**self._shares, **shares}:
            share = float(shares.get(revision, 0.0))
            self.wiring.metrics.revision_share(self.name, self.type, self._gating.mode, revision, share)
        self._shares = shares

    def _weighed(self, table: EndpointTable, revisions: Numbered) -> Rows:
        """Weight of each revision by its number, 0 where a role is missing; one more 0 at the end."""
        roles = tuple(dict.fromkeys(self._gating.require_roles.values))
        counts = np.zeros((len(revisions.numbers) + 1, max(1, len(roles))), np.int64)
        for row in table.live.tolist():
            labels, code = table[row].labels, int(revisions.rows[row])
            role = labels.get(self._gating.role_label_key, "")
            if code != ABSENT and role in roles and self._counted(labels):
                counts[code, roles.index(role)] += 1
        counts[~counts.all(axis=1)] = 0
        # argmax takes the first of equal ones, which is the order in which the roles are written.
        weights: Rows = (
            counts[:, counts.sum(axis=0).argmax()] if self._gating.mode == "max-role" else counts.sum(axis=1)
        )
        return weights
