"""build(settings) -> Services: every long-lived object, made once, in order.

Whoever runs Modelward starts here: the HTTP application, the command line, the tests.
Nothing in ``build`` talks to a network or starts a thread, so that it may run before a
worker process is born; ``Services.start`` and ``Services.close`` are the two ends of a life.
"""

import logging
from dataclasses import dataclass
from functools import partial

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from service.artifacts.admission import Admission
from service.artifacts.store import ArtifactStore, open_store
from service.config import Settings, unsafe_secret
from service.confinement import Confinement
from service.database import Database
from service.errors import Invalid
from service.jobs.fit_and_answer import FitAndAnswer
from service.predict import bulk
from service.predict.bulk import Bulk
from service.predict.derivation import Derivation
from service.predict.loaded import LoadedModels
from service.predict.predictor import Predictor
from service.predict.results import AnswerStore, NullAnswers, Results
from service.predict.runners import Runners
from service.predict.shadow import Shadow
from service.registry.aliases import Aliases
from service.registry.models import Models
from service.registry.resolution import Resolution, ResolvedVersion
from service.registry.sweep import Sweep
from service.registry.versions import Versions
from service.telemetry import Telemetry
from service.tenants.audit import Audit
from service.tenants.epochs import Epochs
from service.tenants.idempotency import Idempotency
from service.tenants.keys import ApiKeys
from service.tenants.plans import Plans
from service.tenants.signing_keys import SigningKeys
from service.tenants.tenants import Tenants
from service.tenants.tokens import Tokens
from service.tenants.usage import Usage
from service.tenants.vault import Vault

logger = logging.getLogger(__name__)

REDIS_TIMEOUT_SECONDS = 0.2
LEASE_MARGIN_SECONDS = 60
"""How much longer a claim of an idempotency key lasts than the longest admission."""

CONFINED = (
    "service.artifacts.inspection",
    "service.jobs.fitting",
    "service.predict.deriving",
    "service.predict.resident:warm",
)
"""Modules whose functions run in confined children, which can import nothing any more."""

CONDEMNED = "Its process crashed again and again."


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that lives as long as the process."""

    settings: Settings
    telemetry: Telemetry
    database: Database
    redis: "Redis | None"
    epochs: Epochs
    audit: Audit
    plans: Plans
    keys: ApiKeys
    tenants: Tenants
    signing_keys: SigningKeys
    tokens: Tokens
    usage: Usage
    idempotency: Idempotency
    confinement: Confinement
    store: ArtifactStore
    models: Models
    aliases: Aliases
    versions: Versions
    resolution: Resolution
    loaded: LoadedModels
    predictor: Predictor
    shadow: Shadow | None
    bulk: Bulk
    fit_and_answer: FitAndAnswer
    sweep: Sweep

    def start(self) -> None:
        """Start the threads and the fork server; a process that serves calls it once."""
        self.epochs.start()
        self.usage.start()
        self.confinement.start()
        if self.shadow is not None:
            self.shadow.start()

    def close(self) -> None:
        """Write what is still held in memory, and let go of everything."""
        if self.shadow is not None:
            self.shadow.close()
        self.usage.close()
        self.epochs.close()
        self.loaded.close()
        self.confinement.close()
        if self.redis is not None:
            self.redis.close()
        self.database.dispose()


def confined(settings: Settings) -> Confinement:
    """Return the confinement of a machine: who starts it has the fork server, which processes forked later share."""
    preload = (*CONFINED, bulk.READER) if bulk.can_read() else CONFINED
    return Confinement(preload=preload, budget_bytes=settings.isolated_models_bytes)


def build(
    settings: Settings,
    *,
    answers: AnswerStore | None = None,
    telemetry: Telemetry | None = None,
    confinement: Confinement | None = None,
) -> Services:
    """Make every long-lived object.

    :param answers: where answers are kept; nowhere by default.
    :param telemetry: who hears what the domain reports; nobody by default.
    :param confinement: the one that this process shares with others; its own by default.
    :raises Invalid: the secret key is missing or too weak to derive anything from.
    """
    problem = unsafe_secret(settings)
    if problem:
        raise Invalid(problem, code="unsafe_settings")
    telemetry = telemetry or Telemetry()
    database = Database(settings.resolved_database_url, pool_size=settings.database_pool_size)
    redis = connect_redis(settings.redis_url) if settings.redis_url else None
    vault = Vault(settings.secret_key.get_secret_value().encode())

    epochs = Epochs(database, interval=settings.snapshot_seconds, stale_seconds=settings.stale_seconds)
    audit = Audit(database)
    keys = ApiKeys(database, vault, epochs, audit)
    signing_keys = SigningKeys(database, vault, epochs, audit)
    usage = Usage(database, redis, workers=settings.workers)

    confinement = confinement or confined(settings)
    store = open_store(settings.resolved_artifact_url)
    admission = Admission(confinement, seconds=settings.admission_seconds, memory_bytes=settings.admission_bytes)

    resolution = Resolution(database, epochs)
    aliases = Aliases(database, epochs, audit)
    versions = Versions(database, epochs, audit, store, admission, aliases, telemetry)
    runners = Runners(
        confinement,
        store,
        telemetry,
        partial(_condemn, versions, telemetry),
        predict_seconds=settings.predict_seconds,
        predict_bytes=settings.predict_bytes,
    )
    loaded = LoadedModels(store, Derivation(runners), runners, settings.loaded_models_bytes, telemetry)
    results = Results(answers or NullAnswers(), vault.digest("answers", b""))
    shadow = None
    if settings.shadow_share:
        shadow = Shadow(partial(_withdraw, versions), telemetry, settings.shadow_share)
    predictor = Predictor(resolution, loaded, results, usage, telemetry, shadow)
    return Services(
        settings=settings,
        telemetry=telemetry,
        database=database,
        redis=redis,
        epochs=epochs,
        audit=audit,
        plans=Plans(database, epochs, audit),
        keys=keys,
        tenants=Tenants(database, epochs, audit, keys),
        signing_keys=signing_keys,
        tokens=Tokens(database, vault, epochs, keys, audit, issuer=settings.issuer, audience=settings.audience),
        usage=usage,
        idempotency=Idempotency(database, vault, lease_seconds=settings.admission_seconds + LEASE_MARGIN_SECONDS),
        confinement=confinement,
        store=store,
        models=Models(database, epochs, audit, store),
        aliases=aliases,
        versions=versions,
        resolution=resolution,
        loaded=loaded,
        predictor=predictor,
        shadow=shadow,
        bulk=Bulk(confinement, settings.bulk_seconds, settings.bulk_bytes),
        fit_and_answer=FitAndAnswer(confinement, usage),
        sweep=Sweep(database, store),
    )


def _condemn(versions: Versions, telemetry: Telemetry, version: ResolvedVersion) -> None:
    """Stop a version whose children died again and again, and say so."""
    logger.error("%s of %s, version %s, crashed again and again", version.model, version.tenant, version.number)
    versions.condemn(version.tenant_id, version.model, version.number, CONDEMNED)
    telemetry.model_condemned(version.tenant, version.model, version.number)


def _withdraw(versions: Versions, version: ResolvedVersion, form: str, reason: str) -> None:
    """Take a form out of a version because it gave another answer than scikit-learn, and say so."""
    if versions.withdraw(version.tenant_id, version.model, version.number, form, reason):
        where = (version.model, version.tenant, version.number)
        logger.error("%s is out of %s of %s, version %s: %s", form, *where, reason)


def connect_redis(url: str) -> "Redis":
    """Return a client that gives up quickly: who asks has a fallback, and a caller who waits."""
    return Redis.from_url(
        url,
        socket_timeout=REDIS_TIMEOUT_SECONDS,
        socket_connect_timeout=REDIS_TIMEOUT_SECONDS,
        retry=Retry(NoBackoff(), 0),
    )
