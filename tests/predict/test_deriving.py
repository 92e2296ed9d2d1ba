"""What the child that derives a version's forms sends, run here without its confinement."""

import pytest
import skops.io
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from service.confinement import wire
from service.errors import Unavailable
from service.predict.deriving import send_forms
from service.predict.packing import UNREADABLE, unpack
from service.runtimes.derivation.derive import NUMPY

pytestmark = pytest.mark.usefixtures("one_thread")

X, y = load_iris(return_X_y=True)
FILE = skops.io.dumps(LogisticRegression(max_iter=1000).fit(X, y))


def asked(file: bytes, most: int) -> bytes:
    return wire.pack({"names": [NUMPY], "most": most}, file)


def test_a_form_arrives_as_plain_arrays() -> None:
    header, body = wire.unpack(send_forms(asked(FILE, 1 << 20)))
    assert list(header["forms"]) == [NUMPY]
    (form,) = unpack(header["forms"], bytes(body)).values()
    assert form.run(X[:1], "predict") == y[:1]


def test_forms_that_are_too_large_to_be_sent_are_none() -> None:
    header, body = wire.unpack(send_forms(asked(FILE, 10)))
    assert header["forms"] == {}
    assert not body


def test_a_file_that_is_not_read_is_told_without_its_contents() -> None:
    with pytest.raises(Unavailable, match="It is not read") as refusal:
        send_forms(asked(FILE[: len(FILE) // 2], 1 << 20))
    assert refusal.value.reason == UNREADABLE
