"""Settings: name, type, default, meaning. The environment is read here and nowhere else.

Every field is the environment variable ``MODELWARD_<NAME>``. The README's table, the
example environment file in ``deploy/`` and ``modelward doctor`` are checked against
this class.
"""

import os
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

MINIMUM_SECRET_BYTES = 32
MINIMUM_SECRET_VARIETY = 8
MINIMUM_METRICS_TOKEN = 16
METRICS_DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
DATABASE_SCHEMES = ("sqlite:///", "postgresql+psycopg://")
REDIS_SCHEMES = ("redis://", "rediss://", "unix://")


class Settings(BaseSettings):
    """Everything that an operator can set; frozen once it is read."""

    model_config = SettingsConfigDict(env_prefix="MODELWARD_", frozen=True, extra="ignore", env_ignore_empty=True)

    data_dir: Path = Field(
        default=Path("modelward-data"),
        description="Where the embedded database, the artifacts and the metrics files lie.",
    )
    database_url: str = Field(
        default="",
        repr=False,
        description="`sqlite:///…` or `postgresql+psycopg://…`; empty means a SQLite file in the data directory.",
    )
    migration_url: str = Field(
        default="",
        repr=False,
        description="URL of the role that owns the schema, for `modelward migrate`; empty means the database URL.",
    )
    database_pool_size: int = Field(
        default=5, ge=1, le=200, description="Connections that each worker keeps to PostgreSQL."
    )
    redis_url: str = Field(
        default="",
        repr=False,
        description="Redis for limits, usage and cached answers; empty keeps them in the memory of one process.",
    )
    artifact_url: str = Field(
        default="",
        repr=False,
        description="Where artifacts are kept: a directory or any fsspec URL; empty means the data directory.",
    )
    secret_key: SecretStr = Field(
        default=SecretStr(""),
        description="At least 32 random bytes, from which the keys for digests and sealed values are derived.",
    )
    issuer: str = Field(default="modelward", min_length=1, description="The `iss` of every token.")
    audience: str = Field(default="modelward", min_length=1, description="The `aud` of every token.")
    metrics_token: SecretStr = Field(
        default=SecretStr(""),
        description="A bearer token that lets a scraper read `/metrics` beside the scope `metrics:read`.",
    )
    metrics_public: bool = Field(
        default=False, description="Serve `/metrics` to everybody; refused by `modelward serve`."
    )
    host: str = Field(default="127.0.0.1", description="The address to listen on.")
    port: int = Field(default=8000, ge=0, le=65535, description="The port to listen on; 0 picks a free one.")
    workers: int = Field(default=1, ge=1, le=256, description="Processes that serve requests.")
    threads: int = Field(default=8, ge=1, le=256, description="Threads in each worker for requests that may block.")
    trusted_hops: int = Field(
        default=0, ge=0, le=16, description="Proxies in front whose X-Forwarded-For is believed; 0 believes none."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least level that is logged."
    )
    debug: bool = Field(
        default=False, description="Changes nothing in this release, but that `modelward serve` refuses it."
    )
    allow_sqlite: bool = Field(
        default=False, description="Let `modelward serve` run on SQLite, which is one machine and one writer."
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="Origins, separated by commas, that browsers may call from; `*` is refused."
    )
    loaded_models_bytes: int = Field(
        default=1 << 30, ge=1 << 20, description="Bytes of compiled models that each worker keeps."
    )
    isolated_models_bytes: int = Field(
        default=2 << 30,
        ge=1 << 26,
        description="Bytes that the processes of isolated models may hold together, on this machine.",
    )
    predict_seconds: float = Field(
        default=30, gt=0, le=3600, description="Seconds that an isolated model may take for an answer."
    )
    predict_bytes: int = Field(
        default=1 << 30,
        ge=1 << 26,
        description="Bytes of memory that an isolated model's process may take beside the model.",
    )
    shadow_share: float = Field(
        default=0.001,
        ge=0,
        le=1,
        description="Share of compiled answers that are held against scikit-learn in the background; 0 checks none.",
    )
    bulk_seconds: float = Field(
        default=300, gt=0, le=86400, description="Seconds that the prediction of all rows of a file may take."
    )
    bulk_bytes: int = Field(
        default=1 << 30,
        ge=1 << 26,
        description="Bytes of memory that a reader of files may take beside its file; a worker has up to four.",
    )
    cached_answers_bytes: int = Field(
        default=64 << 20, ge=0, description="Bytes of cached answers kept in the memory of a process; 0 keeps none."
    )
    cached_answers_seconds: int = Field(default=300, ge=0, description="Seconds that an answer is kept; 0 keeps none.")
    snapshot_seconds: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="Seconds between two looks at what changed; a revocation holds everywhere within one second.",
    )
    stale_seconds: float = Field(
        default=900,
        ge=1,
        description="Seconds that warm requests are served on what was last known while the database is away.",
    )
    body_seconds: float = Field(
        default=30, gt=0, description="Seconds in which a request's body must arrive, and a long answer be taken."
    )
    body_bytes: int = Field(
        default=256 << 20, ge=1024, description="Bytes of the largest body that any plan may allow."
    )
    incoming_bytes: int = Field(
        default=64 << 20,
        ge=1 << 20,
        description="Bytes of requests under way that each worker holds in memory; past them known callers' bodies "
        "go to temporary files, and what others send is refused.",
    )
    connections_per_address: int = Field(
        default=2500,
        ge=1,
        description="Connections of one address that each worker holds, of 10,000; no cap where proxies are trusted.",
    )
    admission_seconds: int = Field(
        default=60,
        ge=1,
        le=3600,
        description="Seconds of time and of processor that the admission of an upload may take.",
    )
    admission_bytes: int = Field(
        default=2 << 30, ge=1 << 28, description="Bytes of memory that the admission of an upload may take."
    )
    drain_seconds: int = Field(
        default=15, ge=1, description="Seconds that a stopping server gives to the requests under way."
    )
    failed_logins_per_minute: int = Field(
        default=60, ge=1, description="Refused credentials an address may send in a minute before it is held off."
    )
    public_requests_per_minute: int = Field(
        default=600,
        ge=1,
        description="Requests without a credential that an address may send in a minute; `/healthz` is not counted.",
    )

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(filter(None, (part.strip() for part in value.split(",")))) if isinstance(value, str) else value

    @field_validator("database_url", "migration_url")
    @classmethod
    def _of_a_known_database(cls, url: str) -> str:
        if url and not url.startswith(DATABASE_SCHEMES):
            raise ValueError(f"a URL begins with {' or '.join(DATABASE_SCHEMES)}")
        return url

    @field_validator("redis_url")
    @classmethod
    def _of_a_known_redis(cls, url: str) -> str:
        if url and not url.startswith(REDIS_SCHEMES):
            raise ValueError(f"a URL begins with {' or '.join(REDIS_SCHEMES)}")
        return url

    @property
    def resolved_database_url(self) -> str:
        """The database URL, with the embedded default filled in."""
        return self.database_url or f"sqlite:///{(self.data_dir / 'modelward.db').absolute()}"

    @property
    def resolved_artifact_url(self) -> str:
        """The artifact URL, with the embedded default filled in."""
        return self.artifact_url or str((self.data_dir / "artifacts").absolute())

    @property
    def embedded(self) -> bool:
        """Whether the database is a SQLite file."""
        return self.resolved_database_url.startswith("sqlite")


def environment_name(field: str) -> str:
    """Return the environment variable of a settings field."""
    return f"MODELWARD_{field.upper()}"


def unsafe_secret(settings: Settings) -> str | None:
    """Return what is wrong with the secret key, or ``None``."""
    secret = settings.secret_key.get_secret_value().encode()
    if len(secret) >= MINIMUM_SECRET_BYTES and len(set(secret)) >= MINIMUM_SECRET_VARIETY:
        return None
    return (
        "MODELWARD_SECRET_KEY must be at least 32 random bytes; make one with: "
        "python3 -c 'import secrets; print(secrets.token_urlsafe(48))'"
    )


def unknown_variables() -> dict[str, str | None]:
    """Return each ``MODELWARD_…`` variable that is no setting, with the name that was probably meant."""
    known = [environment_name(field) for field in Settings.model_fields]
    found = sorted(name for name in os.environ if name.upper().startswith("MODELWARD_") and name.upper() not in known)
    return {name: next(iter(get_close_matches(name.upper(), known, n=1)), None) for name in found}


def unsafe(settings: Settings) -> list[str]:
    """Return one sentence for each setting that production must not run with, each beginning with its name."""
    token = settings.metrics_token.get_secret_value()
    secret = unsafe_secret(settings)
    problems = [secret] if secret else []
    if settings.debug:
        problems.append("MODELWARD_DEBUG must be off: production has no debug mode.")
    if any("*" in origin for origin in settings.cors_origins):
        problems.append("MODELWARD_CORS_ORIGINS must name each origin; a star opens the API to every site.")
    if not settings.redis_url and settings.workers > 1:
        problems.append(
            "MODELWARD_REDIS_URL is needed with more than one worker: "
            "limits kept in process memory would multiply by MODELWARD_WORKERS."
        )
    if settings.embedded and not settings.allow_sqlite:
        problems.append(
            "MODELWARD_DATABASE_URL must name PostgreSQL; "
            "MODELWARD_ALLOW_SQLITE=true accepts SQLite for one machine and one writer."
        )
    if settings.metrics_public:
        problems.append("MODELWARD_METRICS_PUBLIC must be off: metrics name tenants and models.")
    if token and len(token) < MINIMUM_METRICS_TOKEN:
        problems.append(f"MODELWARD_METRICS_TOKEN must have at least {MINIMUM_METRICS_TOKEN} characters.")
    return problems


def share_metrics(directory: Path) -> None:
    """Have the processes that are started from here share their metrics in a directory."""
    os.environ[METRICS_DIRECTORY] = str(directory)


def shared_metrics() -> Path | None:
    """Return the directory in which several workers share their metrics; ``None`` where there is one worker."""
    directory = os.environ.get(METRICS_DIRECTORY)
    return Path(directory) if directory else None
