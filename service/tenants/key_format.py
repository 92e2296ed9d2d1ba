"""The text of a credential: what finds its row, what proves it, and what shows a typing error.

``mw_<id>_<secret><checksum>``: the id is 26 characters of base 32, the secret 43
characters of base 62 (256 random bits), the checksum 6 characters of base 62: the CRC-32
of everything before it. A forged or mistyped text is refused without a look at the
database, and a scanner can tell a leaked key from any other long word.
"""

import re
import secrets
import zlib
from dataclasses import dataclass, field
from typing import Final

API_KEY: Final = "mw"
REFRESH: Final = "mwr"

_BASE_62: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SECRET_LENGTH: Final = 43
_CHECKSUM_LENGTH: Final = 6
_SHAPE: Final = re.compile(r"(mwr?)_([0-9a-hjkmnp-tv-z]{26})_([0-9A-Za-z]{43})[0-9A-Za-z]{6}")


@dataclass(frozen=True, slots=True)
class ParsedKey:
    """A well-formed credential: the 26 characters of its id, and its secret."""

    id: str
    secret: str = field(repr=False)


def mint(name: str, prefix: str = API_KEY) -> str:
    """Return a new credential.

    :param name: the 26 characters of the row's id.
    :param prefix: ``API_KEY`` or ``REFRESH``.
    """
    secret = "".join(secrets.choice(_BASE_62) for _ in range(_SECRET_LENGTH))
    text = f"{prefix}_{name}_{secret}"
    return text + _checksum(text)


def parse(text: str, prefix: str = API_KEY) -> ParsedKey | None:
    """Return the parts of a credential, or ``None`` for a text that was never minted."""
    match = _SHAPE.fullmatch(text)
    if match is None or match[1] != prefix or _checksum(text[:-_CHECKSUM_LENGTH]) != text[-_CHECKSUM_LENGTH:]:
        return None
    return ParsedKey(match[2], match[3])


def _checksum(text: str) -> str:
    rest, digits = zlib.crc32(text.encode()), ""
    for _ in range(_CHECKSUM_LENGTH):
        rest, digit = divmod(rest, len(_BASE_62))
        digits = _BASE_62[digit] + digits
    return digits
