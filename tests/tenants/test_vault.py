import pytest

from service.tenants.vault import Vault

SECRET = b"a secret of at least thirty-two bytes"


def test_what_was_sealed_opens_for_the_same_purpose_and_owner() -> None:
    sealed = Vault(SECRET).seal("letters", b"hello", b"row 1")
    assert Vault(SECRET).open("letters", sealed, b"row 1") == b"hello"
    assert b"hello" not in sealed


@pytest.mark.parametrize(
    ("secret", "purpose", "owner"),
    [(SECRET, "letters", b"row 2"), (SECRET, "parcels", b"row 1"), (SECRET[::-1], "letters", b"row 1")],
)
def test_what_was_sealed_opens_for_nothing_else(secret: bytes, purpose: str, owner: bytes) -> None:
    sealed = Vault(SECRET).seal("letters", b"hello", b"row 1")
    with pytest.raises(ValueError, match="does not open"):
        Vault(secret).open(purpose, sealed, owner)


def test_an_altered_or_cut_value_does_not_open() -> None:
    sealed = Vault(SECRET).seal("letters", b"hello")
    for altered in (sealed[:-1], sealed[:5], b"", sealed[:-1] + bytes([sealed[-1] ^ 1])):
        with pytest.raises(ValueError, match="does not open"):
            Vault(SECRET).open("letters", altered)


def test_sealing_the_same_twice_gives_different_bytes() -> None:
    vault = Vault(SECRET)
    assert vault.seal("letters", b"hello") != vault.seal("letters", b"hello")


def test_a_digest_depends_on_the_secret_the_purpose_and_the_data() -> None:
    digest = Vault(SECRET).digest("keys", b"data")
    assert digest == Vault(SECRET).digest("keys", b"data")
    others = {
        Vault(SECRET).digest("keys", b"datum"),
        Vault(SECRET).digest("tokens", b"data"),
        Vault(SECRET[::-1]).digest("keys", b"data"),
    }
    assert len(digest) == 32
    assert digest not in others


def test_a_vault_does_not_show_its_secret() -> None:
    assert "secret" not in repr(Vault(SECRET))
