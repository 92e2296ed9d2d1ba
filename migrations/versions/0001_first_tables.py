"""The first tables, the plans that exist from the start, and the tenant of the operators."""

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from service.schema import create_roles, grant, protect

revision = "0001"
down_revision = None

JSON = sa.JSON().with_variant(JSONB(), "postgresql")
MOMENT = sa.DateTime(timezone=True)
MIB = 1 << 20

APPEND_ONLY = ("audit_events", "alias_moves")
TENANT_OWNED = (
    "api_keys",
    "refresh_tokens",
    "revoked_tokens",
    "audit_events",
    "usage_counters",
    "idempotency_records",
    "artifacts",
    "models",
    "versions",
    "aliases",
    "alias_moves",
)


def upgrade() -> None:
    _create_plans()
    _create_signing_keys()
    _create_tenants()
    _create_api_keys()
    _create_artifacts()
    _create_audit_events()
    _create_idempotency_records()
    _create_models()
    _create_revoked_tokens()
    _create_usage_counters()
    _create_alias_moves()
    _create_refresh_tokens()
    _create_versions()
    _create_aliases()
    _insert_what_exists_from_the_start()
    create_roles()
    grant("alembic_version", tenant="", platform="SELECT")
    grant("plans", tenant="SELECT", platform="SELECT, INSERT, UPDATE")
    grant("signing_keys", tenant="", platform="SELECT, INSERT, UPDATE, DELETE")
    protect("tenants", column="id", tenant="SELECT, UPDATE")
    for table in TENANT_OWNED:
        protect(table, tenant="SELECT, INSERT" if table in APPEND_ONLY else "SELECT, INSERT, UPDATE, DELETE")


def downgrade() -> None:
    for table in (
        "aliases",
        "versions",
        "refresh_tokens",
        "alias_moves",
        "usage_counters",
        "revoked_tokens",
        "models",
        "idempotency_records",
        "audit_events",
        "artifacts",
        "api_keys",
        "tenants",
        "signing_keys",
        "plans",
    ):
        op.drop_table(table)


def _insert_what_exists_from_the_start() -> None:
    at = datetime.now(UTC)
    plans = sa.table("plans", *(sa.column(name) for name in PLAN_COLUMNS), sa.column("created_at", MOMENT))
    op.bulk_insert(plans, [dict(zip(PLAN_COLUMNS, row, strict=True), created_at=at) for row in PLANS])
    tenants = sa.table("tenants", *(sa.column(name) for name in TENANT_COLUMNS), sa.column("created_at", MOMENT))
    platform = ("ten_platform", "platform", "Platform operators", "unlimited", "active", 1, 1)
    op.bulk_insert(tenants, [dict(zip(TENANT_COLUMNS, platform, strict=True), created_at=at)])


PLAN_COLUMNS = (
    "slug",
    "name",
    "key_requests_per_minute",
    "tenant_requests_per_minute",
    "rows_per_day",
    "max_models",
    "max_bytes",
    "max_body_bytes",
    "max_concurrency",
    "revision",
)
PLANS = (
    ("free", "Free", 60, 300, 100_000, 10, 100 * MIB, MIB, 4, 1),
    ("standard", "Standard", 6_000, 30_000, 50_000_000, 100, 5 * 1024 * MIB, 16 * MIB, 32, 1),
    ("unlimited", "Unlimited", None, None, None, 1_000_000, 1024 * 1024 * MIB, 256 * MIB, 256, 1),
)
TENANT_COLUMNS = ("id", "slug", "name", "plan", "status", "epoch", "revision")


def _create_plans() -> None:
    op.create_table(
        "plans",
        sa.Column("slug", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("key_requests_per_minute", sa.BigInteger(), nullable=True),
        sa.Column("tenant_requests_per_minute", sa.BigInteger(), nullable=True),
        sa.Column("rows_per_day", sa.BigInteger(), nullable=True),
        sa.Column("max_models", sa.BigInteger(), nullable=False),
        sa.Column("max_bytes", sa.BigInteger(), nullable=False),
        sa.Column("max_body_bytes", sa.BigInteger(), nullable=False),
        sa.Column("max_concurrency", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("slug", name="pk_plans"),
    )


def _create_signing_keys() -> None:
    op.create_table(
        "signing_keys",
        sa.Column("kid", sa.String(), nullable=False),
        sa.Column("algorithm", sa.String(), nullable=False),
        sa.Column("public_jwk", JSON, nullable=False),
        sa.Column("sealed_private", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("signs_from", MOMENT, nullable=False),
        sa.Column("retires_at", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("kid", name="pk_signing_keys"),
    )


def _create_tenants() -> None:
    op.create_table(
        "tenants",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("slug", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("plan", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.CheckConstraint("status IN ('active', 'suspended')", name="ck_tenants_status"),
        sa.ForeignKeyConstraint(["plan"], ["plans.slug"], name="fk_tenants_plan"),
        sa.PrimaryKeyConstraint("id", name="pk_tenants"),
        sa.UniqueConstraint("slug", name="uq_tenants_slug"),
    )
    op.create_index("ix_tenants_plan", "tenants", ["plan"])


def _create_api_keys() -> None:
    op.create_table(
        "api_keys",
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("hint", sa.String(), nullable=False),
        sa.Column("scopes", JSON, nullable=False),
        sa.Column("models", sa.JSON(), nullable=True),
        sa.Column("allowed_cidrs", sa.JSON(), nullable=True),
        sa.Column("expires_at", MOMENT, nullable=True),
        sa.Column("revoked_at", MOMENT, nullable=True),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_api_keys_tenant_id"),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_api_keys"),
        sa.UniqueConstraint("id", name="uq_api_keys_id"),
    )


def _create_artifacts() -> None:
    op.create_table(
        "artifacts",
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_artifacts_tenant_id"),
        sa.PrimaryKeyConstraint("tenant_id", "digest", name="pk_artifacts"),
    )


def _create_audit_events() -> None:
    op.create_table(
        "audit_events",
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("target", sa.String(), nullable=False),
        sa.Column("outcome", sa.String(), nullable=False),
        sa.Column("request_id", sa.String(), nullable=True),
        sa.Column("details", JSON, nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_audit_events_tenant_id"),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_audit_events"),
    )
    op.create_index("ix_audit_events_id", "audit_events", ["id"])


def _create_idempotency_records() -> None:
    op.create_table(
        "idempotency_records",
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("lease", sa.String(), nullable=False),
        sa.Column("leased_until", MOMENT, nullable=False),
        sa.Column("sealed_response", sa.LargeBinary(), nullable=True),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_idempotency_records_tenant_id"),
        sa.PrimaryKeyConstraint("tenant_id", "key", name="pk_idempotency_records"),
    )
    op.create_index("ix_idempotency_records_expires_at", "idempotency_records", ["expires_at"])


def _create_models() -> None:
    op.create_table(
        "models",
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("tags", JSON, nullable=False),
        sa.Column("next_version", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("deleted_at", MOMENT, nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_models_tenant_id"),
        sa.PrimaryKeyConstraint("tenant_id", "name", name="pk_models"),
    )


def _create_revoked_tokens() -> None:
    op.create_table(
        "revoked_tokens",
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("jti", sa.String(), nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_revoked_tokens_tenant_id"),
        sa.PrimaryKeyConstraint("tenant_id", "jti", name="pk_revoked_tokens"),
    )
    op.create_index("ix_revoked_tokens_expires_at", "revoked_tokens", ["expires_at"])


def _create_usage_counters() -> None:
    op.create_table(
        "usage_counters",
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("day", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_usage_counters_tenant_id"),
        sa.PrimaryKeyConstraint("tenant_id", "day", "model", name="pk_usage_counters"),
    )


def _create_alias_moves() -> None:
    op.create_table(
        "alias_moves",
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("alias", sa.String(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("from_version", sa.BigInteger(), nullable=True),
        sa.Column("to_version", sa.BigInteger(), nullable=True),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "model"], ["models.tenant_id", "models.name"], name="fk_alias_moves_tenant_id_model"
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_alias_moves_tenant_id"),
        sa.PrimaryKeyConstraint("tenant_id", "model", "alias", "sequence", name="pk_alias_moves"),
    )


def _create_refresh_tokens() -> None:
    op.create_table(
        "refresh_tokens",
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("key_id", sa.String(), nullable=False),
        sa.Column("family", sa.String(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("scopes", JSON, nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.Column("spent_at", MOMENT, nullable=True),
        sa.Column("revoked_at", MOMENT, nullable=True),
        sa.Column("successor", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id", "key_id"],
            ["api_keys.tenant_id", "api_keys.id"],
            name="fk_refresh_tokens_tenant_id_key_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_refresh_tokens_tenant_id"),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_refresh_tokens"),
        sa.UniqueConstraint("id", name="uq_refresh_tokens_id"),
    )
    op.create_index("ix_refresh_tokens_expires_at", "refresh_tokens", ["expires_at"])
    op.create_index("ix_refresh_tokens_tenant_id_family", "refresh_tokens", ["tenant_id", "family"])


def _create_versions() -> None:
    op.create_table(
        "versions",
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("format", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=True),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("estimator", sa.String(), nullable=False),
        sa.Column("task", sa.String(), nullable=False),
        sa.Column("classes", sa.JSON(), nullable=True),
        sa.Column("methods", JSON, nullable=False),
        sa.Column("signature", JSON, nullable=False),
        sa.Column("runtime", JSON, nullable=False),
        sa.Column("sklearn_version", sa.String(), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("tags", JSON, nullable=False),
        sa.Column("metrics", JSON, nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.CheckConstraint("status IN ('ready', 'archived', 'quarantined')", name="ck_versions_status"),
        sa.ForeignKeyConstraint(
            ["tenant_id", "digest"], ["artifacts.tenant_id", "artifacts.digest"], name="fk_versions_tenant_id_digest"
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "model"], ["models.tenant_id", "models.name"], name="fk_versions_tenant_id_model"
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_versions_tenant_id"),
        sa.PrimaryKeyConstraint("tenant_id", "model", "number", name="pk_versions"),
    )
    op.create_index(
        "ix_versions_created_at_tenant_id_model_number", "versions", ["created_at", "tenant_id", "model", "number"]
    )
    op.create_index("ix_versions_estimator", "versions", ["estimator"])
    op.create_index("ix_versions_status_created_at", "versions", ["status", "created_at"])
    op.create_index("ix_versions_tenant_id_digest", "versions", ["tenant_id", "digest"])


def _create_aliases() -> None:
    op.create_table(
        "aliases",
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.Column("updated_by", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "model", "version"],
            ["versions.tenant_id", "versions.model", "versions.number"],
            name="fk_aliases_tenant_id_model_version",
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_aliases_tenant_id"),
        sa.PrimaryKeyConstraint("tenant_id", "model", "name", name="pk_aliases"),
    )
