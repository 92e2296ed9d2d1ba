"""The real things of this package as one process has them, and a counter of SQL statements."""

from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa

from service.database import Database
from service.tenants.audit import Audit
from service.tenants.epochs import Epochs
from service.tenants.keys import ApiKeys, IssuedKey
from service.tenants.plans import Plans
from service.tenants.principal import Principal
from service.tenants.signing_keys import SigningKeys
from service.tenants.tenants import Tenants
from service.tenants.tokens import Tokens
from service.tenants.vault import Vault

SECRET = b"thirty-two bytes for the tests.."
ADDRESS = "127.0.0.1"

OPERATOR = Principal.operator()


@dataclass
class Worker:
    """What one process of the service has of this package: its own memory over a shared database."""

    database: Database

    def __post_init__(self) -> None:
        self.vault = Vault(SECRET)
        self.epochs = Epochs(self.database, interval=0.05, stale_seconds=900)
        self.audit = Audit(self.database)
        self.plans = Plans(self.database, self.epochs, self.audit)
        self.keys = ApiKeys(self.database, self.vault, self.epochs, self.audit)
        self.tenants = Tenants(self.database, self.epochs, self.audit, self.keys)
        self.signing_keys = SigningKeys(self.database, self.vault, self.epochs, self.audit)
        self.tokens = Tokens(
            self.database, self.vault, self.epochs, self.keys, self.audit, issuer="here", audience="there"
        )

    def tenant(self, slug: str = "acme", plan: str = "standard") -> IssuedKey:
        """Make a tenant and return its first key."""
        return self.tenants.create(OPERATOR, slug, slug.title(), plan)[1]

    def principal(self, slug: str = "acme") -> Principal:
        """Make a tenant and return who its first key is."""
        return self.keys.authenticate(self.tenant(slug).secret, ADDRESS)


class Statements:
    """Counts the statements that a database is sent, but for those that only open and end a transaction."""

    def __init__(self, database: Database) -> None:
        self.seen: list[str] = []
        sa.event.listen(database.engine, "before_cursor_execute", self._note)

    def _note(self, _connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        self.seen.append(statement)

    def during(self, act: Callable[[], object]) -> int:
        """Return how many statements ``act`` sends."""
        before = len(self.seen)
        act()
        return len(self.seen) - before
