"""One confinement for all tests here, because its fork server takes seconds to import scikit-learn."""

from collections.abc import Iterator

import pytest

from service.artifacts.admission import Admission
from service.confinement import Confinement


@pytest.fixture(scope="session")
def confinement() -> Iterator[Confinement]:
    confinement = Confinement()
    confinement.start()
    yield confinement
    confinement.close()


@pytest.fixture(scope="session")
def admission(confinement: Confinement) -> Admission:
    return Admission(confinement)
