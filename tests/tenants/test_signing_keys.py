import base64
import threading
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from service.database import PLATFORM
from service.errors import Unavailable
from service.tenants.principal import PLATFORM_TENANT_ID
from service.tenants.signing_keys import SigningKeys
from service.tenants.tables import SigningKey
from service.tenants.vault import Vault
from tests.tenants.workers import OPERATOR, Statements, Worker


def shift(worker: Worker, kid: str, **moments: datetime) -> None:
    """Move a key's moments, as time would, and have every worker learn of it."""
    with worker.database.write(PLATFORM) as session:
        session.execute(sa.update(SigningKey).where(SigningKey.kid == kid).values(**moments))
        worker.epochs.bump(session, PLATFORM_TENANT_ID)


def an_hour_ago() -> datetime:
    return datetime.now(UTC) - timedelta(hours=1)


def test_the_first_key_is_made_on_demand(worker: Worker, another_worker: Worker) -> None:
    kid, private = worker.signing_keys.signing()
    signature = private.sign(b"message")
    public = another_worker.signing_keys.verifying(kid)
    assert public is not None
    public.verify(signature, b"message")
    assert another_worker.signing_keys.signing()[0] == kid


def test_however_many_ensure_the_first_key_there_is_one(worker: Worker) -> None:
    found: list[str] = []

    def run() -> None:
        found.append(Worker(worker.database).signing_keys.ensure())

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert len(set(found)) == 1
    assert [key.kid for key in worker.signing_keys.list().data] == found[:1]


def test_the_published_keys_are_public_and_complete(worker: Worker) -> None:
    kid = worker.signing_keys.ensure()
    (jwk,) = worker.signing_keys.jwks()["keys"]
    assert set(jwk) == {"kty", "crv", "x", "kid", "alg", "use"}
    assert (jwk["kty"], jwk["crv"], jwk["kid"], jwk["alg"], jwk["use"]) == ("OKP", "Ed25519", kid, "EdDSA", "sig")
    public = Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(jwk["x"] + "="))
    public.verify(worker.signing_keys.signing()[1].sign(b"message"), b"message")


def test_an_unknown_kid_verifies_nothing_and_costs_nothing(worker: Worker, statements: Statements) -> None:
    worker.signing_keys.ensure()
    worker.signing_keys.jwks()
    for kid in ("", "sig_unknown", "../../etc/passwd", "' OR 1=1 --"):
        assert statements.during(lambda kid=kid: worker.signing_keys.verifying(kid)) == 0  # type: ignore[misc]
        assert worker.signing_keys.verifying(kid) is None


def test_a_rotated_key_is_published_before_it_signs(worker: Worker, another_worker: Worker) -> None:
    old, _ = worker.signing_keys.signing()
    another_worker.signing_keys.jwks()
    new = worker.signing_keys.rotate(OPERATOR)
    another_worker.epochs.refresh()
    for each in (worker, another_worker):
        assert {key["kid"] for key in each.signing_keys.jwks()["keys"]} == {old, new}
        assert each.signing_keys.signing()[0] == old
        assert each.signing_keys.verifying(new) is not None
    assert [key.status for key in worker.signing_keys.list().data] == ["signing", "published"]


def test_a_rotated_key_signs_when_it_is_due_and_the_old_one_verifies_on(worker: Worker) -> None:
    old, _ = worker.signing_keys.signing()
    shift(worker, old, signs_from=an_hour_ago())
    new = worker.signing_keys.rotate(OPERATOR)
    shift(worker, new, signs_from=datetime.now(UTC) - timedelta(seconds=1))
    assert worker.signing_keys.signing()[0] == new
    assert worker.signing_keys.verifying(old) is not None
    assert [key.status for key in worker.signing_keys.list().data] == ["verifying", "signing"]


def test_an_old_key_verifies_until_the_last_of_its_tokens_ended(worker: Worker) -> None:
    old, _ = worker.signing_keys.signing()
    worker.signing_keys.rotate(OPERATOR)
    retires_at = next(key.retires_at for key in worker.signing_keys.list().data if key.kid == old)
    assert retires_at is not None
    assert retires_at - datetime.now(UTC) > timedelta(seconds=900 + 60)
    shift(worker, old, retires_at=an_hour_ago())
    assert worker.signing_keys.verifying(old) is None
    assert old not in {key["kid"] for key in worker.signing_keys.jwks()["keys"]}
    assert old not in {key.kid for key in worker.signing_keys.list().data}


def test_a_rotation_removes_the_keys_that_verify_no_more(worker: Worker) -> None:
    old, _ = worker.signing_keys.signing()
    worker.signing_keys.rotate(OPERATOR)
    shift(worker, old, retires_at=an_hour_ago())
    worker.signing_keys.rotate(OPERATOR)
    with worker.database.read(PLATFORM) as session:
        assert old not in session.scalars(sa.select(SigningKey.kid)).all()


def test_rotations_at_once_leave_one_key_that_stays(worker: Worker) -> None:
    worker.signing_keys.ensure()
    threads = [threading.Thread(target=worker.signing_keys.rotate, args=(OPERATOR,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    keys = worker.signing_keys.list().data
    assert len(keys) == 5
    assert [key.retires_at is None for key in keys].count(True) == 1


def test_the_private_half_is_sealed_and_shown_nowhere(worker: Worker) -> None:
    kid, private = worker.signing_keys.signing()
    with worker.database.read(PLATFORM) as session:
        row = session.get_one(SigningKey, kid)
    assert private.private_bytes_raw() not in row.sealed_private
    assert "d" not in row.public_jwk


def test_another_secret_cannot_sign_until_a_rotation(worker: Worker) -> None:
    kid = worker.signing_keys.ensure()
    stranger = SigningKeys(worker.database, Vault(b"another secret of thirty-two bytes"), worker.epochs, worker.audit)
    with pytest.raises(Unavailable) as refused:
        stranger.signing()
    assert refused.value.reason == "signing_key_unreadable"
    shift(worker, stranger.rotate(OPERATOR), signs_from=datetime.now(UTC))
    assert stranger.signing()[0] != kid


def test_warm_keys_cost_no_statement(worker: Worker, statements: Statements) -> None:
    kid, _ = worker.signing_keys.signing()
    assert statements.during(worker.signing_keys.signing) == 0
    assert statements.during(lambda: worker.signing_keys.verifying(kid)) == 0
    assert statements.during(worker.signing_keys.jwks) == 0


def test_a_rotation_is_in_the_operators_trail(worker: Worker) -> None:
    kid = worker.signing_keys.rotate(OPERATOR)
    event = worker.audit.list(PLATFORM_TENANT_ID).data[0]
    assert (event.action, event.target, event.actor) == ("signing_key.rotate", kid, "cli")
