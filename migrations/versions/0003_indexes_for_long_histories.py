"""Indexes that lists with a condition read in the order in which they show it, however long the history is."""

from alembic import op

revision = "0003"
down_revision = "0002"

INDEXES = (
    ("audit_events", ("tenant_id", "action", "id")),
    ("audit_events", ("tenant_id", "actor", "id")),
    ("versions", ("estimator", "tenant_id", "model", "number")),
    ("versions", ("status", "tenant_id", "model", "number")),
)


def upgrade() -> None:
    for table, columns in INDEXES:
        op.create_index(_name(table, columns), table, list(columns))


def downgrade() -> None:
    for table, columns in reversed(INDEXES):
        op.drop_index(_name(table, columns), table)


def _name(table: str, columns: tuple[str, ...]) -> str:
    return f"ix_{table}_{'_'.join(columns)}"
