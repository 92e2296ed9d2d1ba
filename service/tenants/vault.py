"""Keyed digests and sealed values, under keys that are derived from the one secret of the settings."""

import hmac
import os
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_NONCE_BYTES: Final = 12
_KEY_BYTES: Final = 32


class Vault:
    """Digests and seals, each purpose under a key of its own (HKDF-SHA256, RFC 5869).

    :param secret: the secret of the settings, 32 bytes or more. Values made under
        another secret neither compare equal nor open.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._keys: dict[str, bytes] = {}

    def digest(self, purpose: str, data: bytes) -> bytes:
        """Return the HMAC-SHA256 of ``data``, 32 bytes, under the key of ``purpose``."""
        return hmac.digest(self._key(f"digest:{purpose}"), data, "sha256")

    def seal(self, purpose: str, data: bytes, bound_to: bytes = b"") -> bytes:
        """Return ``data`` encrypted with AES-256-GCM: a random nonce, then the sealed bytes.

        :param bound_to: what the value belongs to; it opens for the same alone, so that
            a sealed value moved to another row is worthless.
        """
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + AESGCM(self._key(f"seal:{purpose}")).encrypt(nonce, data, bound_to)

    def open(self, purpose: str, sealed: bytes, bound_to: bytes = b"") -> bytes:
        """Return what ``seal`` was given.

        :raises ValueError: it was altered, belongs elsewhere, or was sealed under another secret.
        """
        try:
            nonce, body = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
            return AESGCM(self._key(f"seal:{purpose}")).decrypt(nonce, body, bound_to)
        except (InvalidTag, ValueError) as error:
            raise ValueError("the sealed value does not open") from error

    def _key(self, purpose: str) -> bytes:
        key = self._keys.get(purpose)
        if key is None:
            derivation = HKDF(SHA256(), _KEY_BYTES, salt=None, info=f"modelward:{purpose}".encode())
            key = self._keys[purpose] = derivation.derive(self._secret)
        return key
