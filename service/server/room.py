"""How much of what comes in a worker holds in memory."""


class Room:
    """Bytes for all requests of a worker that are coming, wait, or are answered.

    Every one of ten thousand connections may send a megabyte before anybody knows who it
    is; what they may send each says nothing about all of them together.

    :param most: bytes.
    """

    def __init__(self, most: int) -> None:
        self._left = most

    def take(self, count: int) -> bool:
        """Take so many bytes, which are here already; return whether there was room for them."""
        self._left -= count
        return self._left >= 0

    def give_back(self, count: int) -> None:
        """Give back what was taken."""
        self._left += count
