"""The compiler of the coder's loops, numba, and what stands in for it where it is not installed.

Small devices do without: numba and LLVM are a third of their install. There frames are coded by `plain_push`, to the
same bytes; decoding works, too, but takes seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import TypeVar, cast

Function = TypeVar("Function", bound=Callable[..., object])

COMPILES = find_spec("numba") is not None  # whether loops are compiled here


def compiled(function: Function) -> Function:
    """Return a function compiled on first use, without the GIL, kept in numba's cache where there is one.

    Without numba: the function as it is.
    """
    if not COMPILES:
        return function
    import numba

    try:
        return cast(Function, numba.njit(nogil=True, cache=True)(function))
    except RuntimeError:  # no folder to keep the cache in: compile at every start instead
        return cast(Function, numba.njit(nogil=True)(function))
