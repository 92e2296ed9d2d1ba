"""What an upload is, told by its bytes; names and declared media types are not believed."""

from typing import Final

from service.errors import Unsupported

HOW_TO_CONVERT: Final = (
    "Load it where you trust it and write it again with "
    '`skops.io.dump(estimator, "model.skops")` (pip install skops), then upload that file.'
)
WHY_NO_PICKLE: Final = "Loading one runs whatever code it names, so none is ever accepted."

ZIP: Final = b"PK\x03\x04"

_PICKLE_LEADS: Final = tuple(bytes((0x80, protocol)) for protocol in range(8))
_COMPRESSED: Final = (
    b"\x1f\x8b",
    b"\x78\x01",
    b"\x78\x5e",
    b"\x78\x9c",
    b"\x78\xda",
    b"BZh",
    b"\xfd7zXZ\x00",
    b"]\x00\x00",
    b"\x04\x22\x4d\x18",
    b"ZF",
)
_PROTOCOL_0_LEADS: Final = b"()]}cNIFLSVKMJUXGli\x88\x89\x8a"
_ONNX_SECOND_FIELDS: Final = b"\x12\x1a\x22\x28\x32\x3a\x42"


def require_zip(data: bytes | memoryview) -> None:
    """Refuse what cannot be a ``.skops`` file, with the reason and the way out.

    :raises Unsupported: it is a pickle of any kind, an array file, ONNX, or something unknown.
    """
    lead = bytes(data[:16])
    if lead.startswith(ZIP):
        return
    if lead.startswith(_PICKLE_LEADS) or _is_text_pickle(lead, bytes(data[-1:])):
        raise pickle_refused("This is a pickle (joblib writes the same).")
    if lead.startswith(_COMPRESSED):
        raise pickle_refused("This is a compressed stream, as joblib writes its pickles.")
    if lead.startswith(b"\x93NUMPY"):
        raise Unsupported(f"This is an array file of numpy, not an estimator. {HOW_TO_CONVERT}")
    if lead[:1] == b"\x08" and lead[1:2] < b"\x40" and lead[2:3] in (bytes((tag,)) for tag in _ONNX_SECOND_FIELDS):
        raise Unsupported("ONNX is not yet supported; upload the .skops file.", code="onnx_not_supported")
    raise Unsupported(f"This is not a .skops file. {HOW_TO_CONVERT}")


def pickle_refused(what: str) -> Unsupported:
    """Return the refusal of anything from the pickle family: what it is, why, and what to do."""
    return Unsupported(f"{what} {WHY_NO_PICKLE} {HOW_TO_CONVERT}", code="pickle_not_accepted")


def _is_text_pickle(lead: bytes, last: bytes) -> bool:
    """Whether it may be a pickle of protocol 0 or 1, which have no magic number.

    They begin with one of the opcodes that make a first object and end with the opcode
    STOP. A false alarm only changes the wording of a refusal.
    """
    return bool(lead) and lead[0] in _PROTOCOL_0_LEADS and last == b"."
