"""The table of artifacts: which bytes a tenant owns, and their digest."""

from datetime import datetime

from sqlalchemy.orm import Mapped, mapped_column

from service.database import Base, TenantOwned, now


class Artifact(TenantOwned, Base):
    """Stored bytes of one tenant, named by their SHA-256; never shared between tenants."""

    __tablename__ = "artifacts"

    digest: Mapped[str] = mapped_column(primary_key=True)
    size_bytes: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(default=now)
