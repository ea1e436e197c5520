"""What one request costs the endpoints that work for it: in the ledger, and on the metrics page.

An endpoint that computes the prompt, or encodes the media, for the one that decodes is charged beside it, and
let go as soon as it has done so.
"""

from collections.abc import Callable

from endpoint_picker.core.attributes import UncachedTokens
from endpoint_picker.core.decision import Decision, ProfileResult
from endpoint_picker.core.endpoints import Endpoint
from endpoint_picker.core.ledger import Ledger, Reservation

Show = Callable[[Endpoint, int, int], None]
"""Endpoint, change of its requests in flight, change of its tokens in flight."""


class Charge:
    """A reservation, shown as long as it lasts."""

    __slots__ = ("_show", "reservation")

    def __init__(self, reservation: Reservation, show: Show) -> None:
        self.reservation = reservation
        self._show = show
        self._tell(1)

    def move(self, row: int) -> None:
        """Another endpoint does the work."""
        self._tell(-1)
        self.reservation.move(row)
        self._tell(1)

    def release(self) -> None:
        """The work is done, or given up. To be called once."""
        self._tell(-1)
        self.reservation.release()

    def _tell(self, sign: int) -> None:
        reservation = self.reservation
        self._show(reservation.endpoint, sign, sign * reservation.tokens)


class Charges:
    """All charges of one request, made at once. `decode` is that of the endpoint that serves it."""

    def __init__(self, ledger: Ledger, show: Show, decision: Decision, cost: UncachedTokens | None) -> None:
        self._ledger = ledger
        self._show = show
        self._cost = cost
        self.decode = self._serving(decision.row, alone=decision.prefill is None)
        self.prefill = self._helping(decision.prefill, computes=True)
        self._encode = self._helping(decision.encode, computes=False)

    @property
    def computing(self) -> Reservation | None:
        """Where the prompt is being computed; None where it is already."""
        charge = self.decode if self.prefill is None else self.prefill
        return charge.reservation if charge.reservation.computing else None

    def computed(self) -> None:
        """The endpoint that computes the prompt for another one has done so."""
        for charge in (self.prefill, self._encode):
            if charge is not None:
                charge.release()
        self.prefill = self._encode = None

    def first_token(self) -> None:
        """Who serves the request has begun to answer."""
        self.decode.reservation.first_token()
        self.computed()

    def alone(self) -> None:
        """Nobody computes the prompt for the endpoint that serves the request: it has to do it itself."""
        if self.prefill is not None:
            self.prefill.release()
            self.prefill = None
        row = self.decode.reservation.row
        if self.decode.reservation.valid:
            self.decode.release()
            self.decode = self._serving(row, alone=True)

    def release(self) -> None:
        """The request has ended. To be called once."""
        for charge in (self.decode, self.prefill, self._encode):
            if charge is not None:
                charge.release()
        self.prefill = self._encode = None

    def _serving(self, row: int, *, alone: bool) -> Charge:
        """Where another endpoint computes the prompt, its tokens are held here but not waited for."""
        cost = self._cost
        missing, output, whole = (cost.at(row), cost.output, cost.tokens) if cost else (0, 0, 0)
        prefill, later = (missing, output) if alone else (0, missing + output)
        reservation = self._ledger.reserve(
            row, prefill_tokens=prefill, output_tokens=later, prompt_tokens=whole, computes=alone
        )
        return Charge(reservation, self._show)

    def _helping(self, result: ProfileResult | None, *, computes: bool) -> Charge | None:
        if result is None:
            return None
        row = result.rows[0]
        cost = self._cost if computes else None
        missing, whole = (cost.at(row), cost.tokens) if cost else (0, 0)
        reservation = self._ledger.reserve(
            row, prefill_tokens=missing, prompt_tokens=whole, computes=computes
        )
        return Charge(reservation, self._show)
