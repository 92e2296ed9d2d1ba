"""How fast Modelward is beside the framework that it is built on, and beside others; not a test.

``python -m tests.benchmarks`` measures everything in one run, in rounds that alternate,
and prints each figure as a ratio to a bare Flask ``hello`` that was measured right before
it. Machines differ and are never idle, so a ratio says more than a number of requests.
``python -m tests.benchmarks scale`` compares many tenants and models with one.
"""
