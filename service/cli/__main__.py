"""``python -m service.cli`` is the ``modelward`` command, where that is not on the path."""

from service.cli import main

main(prog_name="modelward")
