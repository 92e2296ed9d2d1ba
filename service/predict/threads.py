"""One thread of BLAS for each request.

Requests already use every core; a product of matrices that starts a thread per core on
top of that makes all of them wait for each other. Forms say themselves that OpenMP shall
use one thread, and the children that run scikit-learn begin with an environment that does.
"""

from threadpoolctl import ThreadpoolController


def pin() -> None:
    """Hold every BLAS that this process has loaded by now to one thread, for all threads that call it."""
    ThreadpoolController().limit(limits=1, user_api="blas")
