"""What the picker itself has in flight, written at the pick and released exactly once.

The ledger is the primary load signal: it is true at once, while a scraped gauge is true some time later.
A reservation outlives its endpoint: when the endpoint leaves the pool and its row is given to another
one, the release finds another generation and leaves the row alone.
"""

from endpoint_picker.core.endpoints import Endpoint, EndpointTable
from endpoint_picker.core.records import record


class Ledger:
    """Books requests and tokens to the rows of the table."""

    def __init__(self, table: EndpointTable) -> None:
        self._table = table
        self.open = 0
        """Reservations that are not yet released."""

    def reserve(
        self,
        row: int,
        *,
        prefill_tokens: int,
        output_tokens: int = 0,
        prompt_tokens: int = 0,
        computes: bool = True,
    ) -> "Reservation":
        """Charge one request to an endpoint.

        `prefill_tokens` are the prompt tokens that it must compute, released with the first token as
        outstanding prefill; together with the estimated `output_tokens` they count as tokens in flight
        until the end. `prompt_tokens` are those of the whole prompt, which it holds until then.
        `computes`: whether it is this endpoint that the first token is waited for from.
        """
        self.open += 1
        charge = Charged(prefill_tokens, output_tokens, prompt_tokens, computes)
        return Reservation(self, self._table, row, charge)


@record
class Charged:
    """What one request costs an endpoint, as `Ledger.reserve` has it."""

    prefill: int
    output: int
    prompt: int
    computes: bool


class Reservation:
    """One request's charge on one endpoint."""

    __slots__ = (
        "_charged",
        "_generation",
        "_ledger",
        "_open",
        "_readings",
        "_table",
        "_waiting",
        "endpoint",
        "row",
    )

    row: int
    """Table row that is charged."""
    endpoint: Endpoint
    """The endpoint that it held when it was charged."""

    def __init__(self, ledger: Ledger, table: EndpointTable, row: int, charged: Charged) -> None:
        self._ledger = ledger
        self._table = table
        self._charged = charged
        self._waiting = True
        self._open = True
        self._charge(row)

    def first_token(self) -> None:
        """The prompt is computed: its tokens are no longer outstanding prefill."""
        if self._open and self._waiting:
            if self.valid:
                self._book_prefill(-1)
            self._waiting = False

    def move(self, row: int) -> None:
        """Another endpoint serves the request than the first choice: the charge follows it."""
        if self._open and row != self.row:
            self._discharge()
            self._charge(row)

    def release(self) -> None:
        """The request has ended, whatever way; a second call does nothing."""
        if self._open:
            self._discharge()
            self._open = False
            self._ledger.open -= 1

    @property
    def tokens(self) -> int:
        """Tokens charged: the prompt's uncached ones and the estimate of the output."""
        return self._charged.prefill + self._charged.output

    @property
    def computing(self) -> bool:
        """Whether its endpoint computes the prompt and has not said a token yet."""
        return self._open and self._waiting and self._charged.computes

    @property
    def valid(self) -> bool:
        """Whether the row still holds the endpoint that was charged."""
        return int(self._table.generation[self.row]) == self._generation

    def _charge(self, row: int) -> None:
        self.row = row
        self.endpoint = self._table[row]
        self._generation = int(self._table.generation[row])
        self._readings = int(self._table.readings[row])
        self._book(1)

    def _discharge(self) -> None:
        if self.valid:
            self._book(-1)

    def _book(self, sign: int) -> None:
        table, row = self._table, self.row
        table.in_flight[row] += sign
        table.in_flight_tokens[row] += sign * self.tokens
        table.prompt_tokens[row] += sign * self._charged.prompt
        if self._waiting:
            self._book_prefill(sign)

    def _book_prefill(self, sign: int) -> None:
        table, row = self._table, self.row
        table.prefill_tokens[row] += sign * self._charged.prefill
        table.pending[row] += sign * self._charged.computes
        # A reading that came in between has set the count to zero: it shows this request already.
        if int(table.readings[row]) == self._readings:
            table.unread[row] += sign
