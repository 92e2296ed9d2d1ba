"""What the server finds out about a version after it was admitted, and takes back."""

from typing import Any, Final

from sqlalchemy import orm

from service.database import Database, now
from service.registry.oversight import SYSTEM
from service.registry.tables import Version
from service.runtimes.policy import NATIVE
from service.tenants.audit import Audit
from service.tenants.epochs import Epochs

ACTION: Final = "runtime.withdraw"


class Withdrawals:
    """Takes compiled forms out of versions, for good."""

    def __init__(self, database: Database, epochs: Epochs, audit: Audit) -> None:
        self._database = database
        self._epochs = epochs
        self._audit = audit

    def withdraw(self, tenant_id: str, model: str, version: int, form: str, reason: str) -> bool:
        """Have scikit-learn answer what a form answered; ``Versions.withdraw`` says the rest."""
        with self._database.write(tenant_id) as session:
            self._epochs.bump(session, tenant_id)
            row = session.get(Version, (tenant_id, model, version))
            if row is None or form not in _running(row.runtime):
                return False
            row.runtime, row.revision = _without(row.runtime, form, reason), row.revision + 1
            self._record(session, row, form, reason)
            return True

    def _record(self, session: orm.Session, row: Version, form: str, reason: str) -> None:
        self._audit.record(
            session,
            tenant_id=row.tenant_id,
            actor=SYSTEM,
            action=ACTION,
            target=f"models/{row.model}/versions/{row.number}",
            details={"runtime": form, "reason": reason},
        )


def _running(runtime: dict[str, Any]) -> set[str]:
    return {each[size] for each in runtime.get("methods", {}).values() for size in ("one", "many")}


def _without(runtime: dict[str, Any], form: str, reason: str) -> dict[str, Any]:
    """Return what a version's ``runtime`` shows when the form is out: its figures, and the reason beside them."""
    methods = {}
    for name, each in runtime["methods"].items():
        chosen = {size: NATIVE if each[size] == form else each[size] for size in ("one", "many")}
        compared = {
            other: parity | {"holds": False, "dropped": reason} if other == form else parity
            for other, parity in each["parity"].items()
        }
        methods[name] = each | chosen | {"parity": compared}
    withdrawn = runtime.get("withdrawn", {}) | {form: {"at": now().isoformat(), "reason": reason}}
    found = runtime | {"methods": methods, "withdrawn": withdrawn}
    return found | {"backend": NATIVE, "parity": None} if runtime["backend"] == form else found
