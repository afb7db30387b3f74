"""numba's threads, beside those of other libraries."""

from functools import cache

import numba
from threadpoolctl import threadpool_limits


def thread_count() -> int:
    """How many threads parallel kernels run on."""
    _start()
    return numba.get_num_threads()


@cache
def _start() -> None:
    """Start numba's threads, and leave to others theirs.

    With OpenMP numba sets the number of threads for all in the process that share the runtime, torch among them, whatever
    its user chose: operations on short tensors then wait for threads on cores that others are busy on, which makes them up
    to thirty times as slow.
    """
    with threadpool_limits():
        numba.get_num_threads()
