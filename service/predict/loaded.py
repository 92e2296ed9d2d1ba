"""Versions in memory: bounded in bytes, each loaded once however many ask."""

import threading
import time
from collections import OrderedDict
from typing import Final, TypeAlias

from service.artifacts.container import unpacked_bytes
from service.artifacts.store import ArtifactStore
from service.predict import threads
from service.predict.derivation import Derivation
from service.predict.runners import Runners
from service.predict.runtimes import IsolatedRuntime, Runtime, held_bytes, names_of
from service.predict.single_flight import SingleFlight
from service.registry.resolution import ResolvedVersion
from service.runtimes.forms import Form
from service.server import waiting
from service.telemetry import Telemetry

MOST_HELD_HERE: Final = 8 << 20
"""Bytes of forms that each worker may hold of one version; a larger one is held once a machine, in its child."""

_Key: TypeAlias = tuple[str, str, str]


class LoadedModels:
    """Runtimes by tenant, digest and plan; the least recently used go first when the bytes run out.

    Two versions of a tenant with equal bytes and plans share a runtime; two tenants never do.

    :param budget_bytes: of what all runtimes hold in this process, but for those that a request is using.
    """

    def __init__(
        self,
        store: ArtifactStore,
        derivation: Derivation,
        runners: Runners,
        budget_bytes: int,
        telemetry: Telemetry,
    ) -> None:
        self._store = store
        self._derivation = derivation
        self._runners = runners
        self._budget_bytes = budget_bytes
        self._telemetry = telemetry
        self._lock = threading.Lock()
        self._flights: SingleFlight[_Key, Runtime] = SingleFlight()
        self._runtimes: OrderedDict[_Key, Runtime] = OrderedDict()
        self._total = 0

    @property
    def total_bytes(self) -> int:
        """The bytes that are kept now."""
        return self._total

    def known(self, version: ResolvedVersion) -> Runtime | None:
        """Return the runtime where it is in memory."""
        key = _key(version)
        with self._lock:
            runtime = self._runtimes.get(key)
            if runtime is not None:
                self._runtimes.move_to_end(key)
            return runtime

    def get(self, version: ResolvedVersion) -> Runtime:
        """Return the runtime, loading the version where nothing has loaded it.

        :raises Unavailable: ``artifact_corrupt``, ``artifact_unreadable``, ``model_too_large``
            where it alone is over the machine's budget, or no child can be had.
        :raises ModelCrashed: a child dies that loads it.
        :raises DeadlineExceeded: it is not loaded in its time.
        """
        runtime = self.known(version)
        if runtime is not None:
            return runtime
        return self._flights.do(_key(version), lambda: self._loaded(version))

    def close(self) -> None:
        """Let go of everything."""
        with self._lock:
            while self._runtimes:
                self._evict()

    def _loaded(self, version: ResolvedVersion) -> Runtime:
        # Another thread may have landed between the look in memory and this flight.
        runtime = self.known(version)
        if runtime is not None:
            return runtime
        runner = self._runners.of(version)
        forms = self._forms(version)
        if not forms:
            runner.load()
        runtime = IsolatedRuntime(version.plan, forms, runner)
        self._keep(_key(version), runtime)
        self._telemetry.loaded_bytes(self._total)
        return runtime

    def _forms(self, version: ResolvedVersion) -> dict[str, Form]:
        """Return the forms of a version that are to be held here, none where they are too large for that."""
        names, most = names_of(version.plan), min(MOST_HELD_HERE, self._budget_bytes)
        if not names or version.size_bytes > most:
            return {}
        waiting.wait()
        data = self._store.get(version.tenant_id, version.digest)
        if unpacked_bytes(data) > most:
            return {}
        begun = time.perf_counter()
        forms = self._derivation.forms(version, data, names, most)
        # They may have brought a library of linear algebra, which has threads of its own.
        threads.pin()
        self._telemetry.model_loaded(time.perf_counter() - begun)
        return forms if sum(map(held_bytes, forms.values())) <= most else {}

    def _keep(self, key: _Key, runtime: Runtime) -> None:
        with self._lock:
            self._runtimes[key] = runtime
            self._total += runtime.size_bytes
            while self._total > self._budget_bytes:
                self._evict()

    def _evict(self) -> None:
        _, evicted = self._runtimes.popitem(last=False)
        self._total -= evicted.size_bytes
        evicted.close()


def _key(version: ResolvedVersion) -> _Key:
    return version.tenant_id, version.digest, version.plan_digest
