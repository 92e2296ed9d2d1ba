"""The SQL database: its transactions, each of which names whose rows it reaches.

The use case opens the transaction (``with database.write(tenant_id) as session``) and
leaving the block commits it; an exception rolls it back.
"""

from service.database.engine import make_engine
from service.database.reach import PLATFORM, PLATFORM_ROLE, TENANT_ROLE, TENANT_SETTING
from service.database.revision import NEWEST, connected, revision_of
from service.database.tables import Base, TenantOwned, UtcDateTime, now
from service.database.transactions import Database, after_commit, after_rollback, insert

__all__ = [
    "NEWEST",
    "PLATFORM",
    "PLATFORM_ROLE",
    "TENANT_ROLE",
    "TENANT_SETTING",
    "Base",
    "Database",
    "TenantOwned",
    "UtcDateTime",
    "after_commit",
    "after_rollback",
    "connected",
    "insert",
    "make_engine",
    "now",
    "revision_of",
]
