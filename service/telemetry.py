"""What the domain reports about its work, without knowing who listens.

``Telemetry`` does nothing, so that the command line and the tests need no
stand-in; ``service.gateway.metrics`` overrides it with Prometheus series.
"""

from contextvars import ContextVar

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
"""The id of the request under way, for audit events and log lines."""


class Telemetry:
    """Receives one call per event; every method here does nothing."""

    def prediction(self, tenant: str, model: str, version: int, rows: int) -> None:
        """A prediction of ``rows`` rows was answered, by a model's run or by a kept answer."""

    def model_ran(self, tenant: str, model: str, version: int, seconds: float) -> None:
        """A model computed an answer in ``seconds`` seconds, its loading not among them."""

    def prediction_failed(self, tenant: str, model: str, version: int, reason: str) -> None:
        """A prediction failed with the error code ``reason``."""

    def answer_looked_up(self, outcome: str) -> None:
        """The response cache was asked: ``hit``, ``miss`` or ``bypass``."""

    def limit_refused(self, limit: str) -> None:
        """A request was refused by the limit of that kind."""

    def model_loaded(self, seconds: float) -> None:
        """A version was read from the store into memory."""

    def loaded_bytes(self, total: int) -> None:
        """The loaded models of this process hold ``total`` bytes now."""

    def isolated_bytes(self, total: int) -> None:
        """The children that run models, of all workers of this machine, hold ``total`` bytes now."""

    def model_condemned(self, tenant: str, model: str, version: int) -> None:
        """A version was stopped because its children died again and again."""

    def shadow_checked(self, result: str) -> None:
        """A compiled form's answer was checked: ``equal``, ``different``, ``failed`` or ``dropped``."""

    def admission(self, outcome: str, seconds: float) -> None:
        """An upload was ``admitted`` or ``rejected``, or its child ``failed``."""
