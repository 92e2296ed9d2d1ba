"""What the child that derives a version's forms does: it loads the version's own file, and sends what it makes of it.

It is given nothing that a caller has sent, so what it makes is as good as the file that
admission wrote.
"""

import warnings

from service.artifacts import serialization
from service.confinement import wire
from service.errors import Unavailable
from service.predict.packing import UNREADABLE, pack
from service.runtimes.derivation.derive import derive


def send_forms(payload: bytes) -> bytes:
    """Return the forms of a version, none where they are too large to be sent.

    :param payload: a frame: the ``names`` of forms and the ``most`` bytes of them together in
        the header, the canonical file as the body.
    :returns: a frame: ``forms`` as ``pack`` describes them in the header, their bytes as the body.
    :raises Unavailable: ``artifact_unreadable``.
    """
    header, data = wire.unpack(payload)
    try:
        estimator = serialization.load(bytes(data))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            described, parts = pack(derive(estimator, set(header["names"])))
    except MemoryError:
        raise
    except Exception as error:
        # Admission loaded these very bytes, so whatever this is, the caller can do nothing about it.
        raise Unavailable(f"It is not read: {type(error).__name__}", code=UNREADABLE) from error
    if sum(map(len, parts)) > header["most"]:
        return wire.pack({"forms": {}})
    return wire.pack({"forms": described}, *parts)
