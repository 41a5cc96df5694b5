"""A hash of VINs for searching: many at once, the same in every process. It finds; the record proves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mappings.vinarrays import vin_matrix

_WEIGHTS = np.array([pow(0x9E3779B97F4A7C15, i + 1, 1 << 64) for i in range(17)], np.uint64)


def vin_hashes(vins: Sequence[str]) -> NDArray[np.uint64]:
    """64 bits for each VIN; 0 for what is not 17 ASCII characters."""
    if not vins:
        return np.zeros(0, np.uint64)
    characters = vin_matrix(vins).astype(np.uint64)
    hashes: NDArray[np.uint64] = (characters * _WEIGHTS).sum(axis=1, dtype=np.uint64)
    hashes ^= hashes >> np.uint64(29)
    hashes[(characters == ord("I")).all(axis=1)] = 0
    return hashes


def vin_hash(vin: str) -> int:
    """The hash of one VIN."""
    return int(vin_hashes([vin])[0])
