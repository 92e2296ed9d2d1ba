"""What the structural tests over HTTP stand on: the application of the tests of the interface."""

from tests.api.conftest import world

__all__ = ["world"]
