"""``Values``: the numbers of a tensor, without a tensor library of its own."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np

_BYTES = {"float32": 4, "float64": 8}


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """Numbers in C order, little-endian. They travel as NPZ; JSON leaves them out.

    Attributes:
        shape: Of the array.
        dtype: Of its numbers.
        data: Their bytes.
    """

    shape: tuple[int, ...]
    dtype: Literal["float32", "float64"]
    data: bytes

    def __post_init__(self) -> None:
        if len(self.data) != math.prod(self.shape) * _BYTES[self.dtype]:
            raise ValueError(f"{len(self.data)} bytes for {self.dtype} of shape {self.shape}")

    def numpy(self) -> np.ndarray:
        """A fresh NumPy array."""
        import numpy as np

        kind = np.dtype(self.dtype).newbyteorder("<")
        return np.frombuffer(self.data, dtype=kind).reshape(self.shape).astype(self.dtype)
