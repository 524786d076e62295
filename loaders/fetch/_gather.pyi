import numpy as np
from numpy.typing import NDArray

def guard() -> None: ...
def copy_one(source: NDArray[np.uint64], begin: int, into: NDArray[np.uint64], /) -> None: ...
def gather(
    source: NDArray[np.uint64],
    begins: NDArray[np.int64],
    into: NDArray[np.uint64],
    slots: NDArray[np.int64],
    nbytes: int,
    /,
) -> None: ...
def gather_and_look(
    source: NDArray[np.uint64],
    begins: NDArray[np.int64],
    into: NDArray[np.uint64],
    slots: NDArray[np.int64],
    nbytes: int,
    nodata: np.generic,
    valid: NDArray[np.bool_],
    /,
) -> bool: ...
