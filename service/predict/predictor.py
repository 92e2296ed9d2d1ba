"""Predictor.predict: one function under every form of the call."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import orjson

from service.artifacts.outputs import refuse_large, refuse_long_labels
from service.errors import Finding, Invalid, ModelwardError
from service.predict.loaded import LoadedModels
from service.predict.results import Caching, Results
from service.predict.runtimes import Runtime
from service.predict.shadow import Shadow
from service.registry.resolution import Ref, Resolution, ResolvedVersion
from service.server.waiting import OnLoopError
from service.telemetry import Telemetry
from service.tenants.principal import Principal
from service.tenants.usage import Usage

DEFAULT_OUTPUTS: Final = ("predict",)
DEFAULT_CACHING: Final = Caching()

Array: TypeAlias = np.ndarray[Any, Any]


class Prediction(NamedTuple):
    """An answer, and which version gave it.

    :param alias: the alias by which the version was found, ``None`` where none was.
    :param outputs_json: the outputs as a JSON object, by name, in the order asked for.
    :param cache: ``hit``, ``miss`` or ``bypass``.
    :param runtimes: the name of what computed each output; empty where nothing was computed.
    """

    model: str
    version: int
    alias: str | None
    outputs_json: bytes
    rows: int
    cache: str
    runtimes: tuple[str, ...] = ()


class Predictor:
    """Answers for the rows of a request.

    :param shadow: checks some of the answers; ``None`` checks none.
    """

    def __init__(
        self,
        resolution: Resolution,
        loaded: LoadedModels,
        results: Results,
        usage: Usage,
        telemetry: Telemetry,
        shadow: Shadow | None = None,
    ) -> None:
        self._resolution = resolution
        self._loaded = loaded
        self._results = results
        self._usage = usage
        self._telemetry = telemetry
        self._shadow = shadow

    def predict(
        self,
        principal: Principal,
        model: str,
        ref: Ref,
        inputs: object,
        outputs: tuple[str, ...] | None = None,
        caching: Caching = DEFAULT_CACHING,
        seconds: float | None = None,
        *,
        native: bool = False,
    ) -> Prediction:
        """Return what the version that ``ref`` names says about ``inputs``.

        :param inputs: rows as lists or as objects by feature name, as they stood in the request.
        :param outputs: among the version's methods; ``None`` is ``predict`` alone.
        :param seconds: that the caller still waits; ``None`` is as long as the server allows.
        :param native: whether scikit-learn itself is to answer, whatever else could.
        :raises NotFound: model, version or alias do not exist for this caller.
        :raises Conflict: the version is archived or quarantined.
        :raises Invalid: ``signature_mismatch`` with the cells that do not fit,
            ``unknown_output``, or ``prediction_failed`` where the estimator cannot take the rows.
        :raises TooLarge: the answer would not fit into 64 MB.
        :raises QuotaExceeded: the plan's rows of the day are used up. A call that fails uses none.
        :raises Unavailable: the version cannot be loaded, or no process can be had to run it.
        :raises DeadlineExceeded: the model, or another call that loads or computes the same, does not end in time.
        :raises ModelCrashed: the model's process died of these rows.
        """
        version = self._resolution.resolve(principal, model, ref)
        if native:
            version = version.natively()
        return self.run(principal, version, version.signature.rows(inputs), outputs, caching, seconds)

    def run(
        self,
        principal: Principal,
        version: ResolvedVersion,
        X: Array,
        outputs: tuple[str, ...] | None = None,
        caching: Caching = DEFAULT_CACHING,
        seconds: float | None = None,
    ) -> Prediction:
        """Return what a resolved version says about rows that are read already; ``predict`` says the rest.

        :param X: as ``Signature.rows`` returns it.
        """
        names = _known_outputs(version, outputs)
        day = self._usage.charge(principal, version.model, len(X))
        try:
            ran: list[str] = []
            compute = partial(self._compute, version, X, names, seconds, ran)
            answer, cache = self._results.answer(version, names, X, caching, compute)
        except OnLoopError:
            self._usage.refund(principal, version.model, len(X), day)
            raise
        except ModelwardError as error:
            self._usage.refund(principal, version.model, len(X), day)
            self._telemetry.prediction_failed(version.tenant, version.model, version.number, error.reason)
            raise
        self._telemetry.answer_looked_up(cache)
        self._telemetry.prediction(version.tenant, version.model, version.number, len(X))
        return Prediction(version.model, version.number, version.alias, answer, len(X), cache, tuple(ran))

    @contextmanager
    def batches(
        self, principal: Principal, version: ResolvedVersion, outputs: tuple[str, ...] | None = None
    ) -> Iterator["Batched"]:
        """Yield what predicts the rows of one request batch by batch; kept answers have no part in it.

        Rows count against the plan as they come, all of them as one request. Where the block
        ends with an error, none do.

        :raises Invalid: ``unknown_output``.
        """
        names = _known_outputs(version, outputs)
        rows_by_day: Counter[int] = Counter()

        def compute(X: Array, seconds: float | None, ran: list[str]) -> dict[str, Any]:
            day = self._usage.charge(principal, version.model, len(X), requests=0 if rows_by_day else 1)
            rows_by_day[day] += len(X)
            return self._values(version, X, names, seconds, ran)

        try:
            yield Batched(compute)
        except BaseException as error:
            for index, (day, rows) in enumerate(rows_by_day.items()):
                self._usage.refund(principal, version.model, rows, day, requests=0 if index else 1)
            reason = error.reason if isinstance(error, ModelwardError) else "internal_error"
            self._telemetry.prediction_failed(version.tenant, version.model, version.number, reason)
            raise
        self._telemetry.prediction(version.tenant, version.model, version.number, rows_by_day.total())

    def _compute(
        self, version: ResolvedVersion, X: Array, names: tuple[str, ...], seconds: float | None, ran: list[str]
    ) -> bytes:
        if "predict" in names:
            refuse_long_labels(len(X), version.classes)
        values = self._values(version, X, names, seconds, ran)
        refuse_large(values.values())
        return orjson.dumps(version.signature.typed(values), option=orjson.OPT_SERIALIZE_NUMPY)

    def _values(
        self, version: ResolvedVersion, X: Array, names: tuple[str, ...], seconds: float | None, ran: list[str]
    ) -> dict[str, Any]:
        deadline = None if seconds is None else time.monotonic() + seconds
        runtime = self._loaded.get(version)
        values = {}
        begun = time.perf_counter()
        for name in names:
            left = None if deadline is None else max(deadline - time.monotonic(), 0)
            values[name], by = _run(runtime, X, name, left)
            ran.append(by)
        self._telemetry.model_ran(version.tenant, version.model, version.number, time.perf_counter() - begun)
        if self._shadow is not None and self._shadow.due():
            self._shadow.offer(version, runtime, X, values, dict(zip(names, ran, strict=True)))
        return values


class Batched:
    """Predicts batch after batch of one request.

    ``runtimes`` names what has computed any of it, in the order of their first time.
    """

    def __init__(self, compute: Callable[[Array, float | None, list[str]], dict[str, Any]]) -> None:
        self._compute = compute
        self.runtimes: dict[str, None] = {}

    def predict(self, X: Array, seconds: float | None) -> dict[str, Any]:
        """Return an array for each output; raises as ``Predictor.predict`` does.

        :param X: as ``Signature.rows`` returns it.
        :param seconds: that the caller still waits; ``None`` is as long as the server allows.
        """
        ran: list[str] = []
        values = self._compute(X, seconds, ran)
        self.runtimes |= dict.fromkeys(ran)
        return values


def _run(runtime: Runtime, X: Array, method: str, seconds: float | None) -> tuple[Any, str]:
    try:
        return runtime.run(X, method, seconds)
    except ModelwardError:
        raise
    except Exception as error:
        # What a form raises depends on its steps and quotes its data and its code.
        raise Invalid(
            f"The model's {method} does not accept these rows, although their types fit its signature.",
            code="prediction_failed",
        ) from error


def _known_outputs(version: ResolvedVersion, outputs: tuple[str, ...] | None) -> tuple[str, ...]:
    if outputs is None:
        return DEFAULT_OUTPUTS
    unknown = [name for name in outputs if name not in version.methods]
    if unknown or not outputs:
        available = ", ".join(version.methods)
        raise Invalid(
            f"Version {version.number} of {version.model} gives {available}.",
            code="unknown_output",
            findings=[Finding("outputs", f"{name[:100]} is none of {available}") for name in unknown[:20]],
        )
    return tuple(dict.fromkeys(outputs))
