"""How many models and bytes each tenant has, so that nobody has to count them for one more."""

import sqlalchemy as sa
from alembic import op

from service.schema import reaching_every_tenant

revision = "0004"
down_revision = "0003"

COLUMNS = ("model_count", "artifact_bytes")
FILL = """
UPDATE tenants SET
    model_count = (SELECT count(*) FROM models WHERE models.tenant_id = tenants.id AND models.deleted_at IS NULL),
    artifact_bytes = (SELECT coalesce(sum(size_bytes), 0) FROM artifacts WHERE artifacts.tenant_id = tenants.id)
"""


def upgrade() -> None:
    for name in COLUMNS:
        # The release before this one makes tenants without it, and counts nothing: the sweep sets that right.
        op.add_column("tenants", sa.Column(name, sa.BigInteger(), nullable=False, server_default="0"))
    with reaching_every_tenant():
        op.execute(FILL)


def downgrade() -> None:
    for name in reversed(COLUMNS):
        op.drop_column("tenants", name)
