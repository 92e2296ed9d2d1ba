"""The policy under which a model's compiled forms are admitted."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    # The release before this one makes models without it, and means the stricter policy.
    op.add_column("models", sa.Column("parity", sa.String(), nullable=False, server_default="exact"))


def downgrade() -> None:
    op.drop_column("models", "parity")
