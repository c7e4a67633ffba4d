"""Keys and values of all running requests: one row of columns each, in one tensor a layer."""

from __future__ import annotations

import heapq
import math
import mmap
from collections.abc import Sequence

import torch

_KEPT_COLUMNS = 2_048


class KeyValuePool:
    """`rows` requests of up to `columns` tokens. A layer's tensors [rows, heads, columns, width] are made when it first
    runs: that is when their shape is known. On CPUs memory is taken as columns are first written to, and given back
    after long requests.
    """

    def __init__(self, rows: int, columns: int) -> None:
        self.rows, self.columns = rows, columns
        self._free = list(range(rows))
        self._layers: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._memory: list[tuple[mmap.mmap, torch.Tensor]] = []

    @property
    def column_bytes(self) -> int:
        """Of one token of one request, in the layers that have run."""
        return sum(tensor[0, :, 0].nbytes for tensor in self._tensors())

    def take(self) -> int:
        """The lowest free row: rows that lie side by side attend in one call."""
        return heapq.heappop(self._free)

    def give_back(self, row: int, used: int) -> None:
        """`used`: columns that may have been written to. The first ones keep their memory for the next request."""
        heapq.heappush(self._free, row)
        if used > _KEPT_COLUMNS:
            for memory, tensor in self._memory:
                for head in tensor[row]:
                    begin = head[_KEPT_COLUMNS:].data_ptr() - tensor.data_ptr()
                    end = begin + head[_KEPT_COLUMNS:used].nbytes
                    begin = -(-begin // mmap.PAGESIZE) * mmap.PAGESIZE
                    if begin < end:
                        memory.madvise(mmap.MADV_DONTNEED, begin, end - begin)

    def layer(self, number: int, key: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of a layer, for keys like `key` [1, heads, n, width]."""
        found = self._layers.get(number)
        if found is None:
            shape = (self.rows, key.shape[1], self.columns, key.shape[3])
            found = self._layers[number] = (self._zeros(shape, key), self._zeros(shape, key))
        return found

    @torch.inference_mode()
    def move(self, row: int, sources: Sequence[int], start: int) -> None:
        """Copy columns to the ones from `start` on."""
        for tensor in self._tensors():
            tensor[row, :, start : start + len(sources)] = tensor[row][:, sources]

    @torch.inference_mode()
    def read(self, row: int, start: int, end: int) -> torch.Tensor:
        """A copy of columns [start, end): [layers × 2, heads, end - start, width]."""
        return torch.stack([tensor[row, :, start:end] for tensor in self._tensors()])

    @torch.inference_mode()
    def write(self, row: int, start: int, columns: torch.Tensor) -> None:
        """What `read` gave, from column `start` on."""
        for tensor, part in zip(self._tensors(), columns, strict=True):
            tensor[row, :, start : start + part.shape[1]] = part

    def _tensors(self) -> list[torch.Tensor]:
        """Keys and values, layer by layer."""
        return [tensor for number in sorted(self._layers) for tensor in self._layers[number]]

    def _zeros(self, shape: tuple[int, ...], like: torch.Tensor) -> torch.Tensor:
        """What was never written is masked by adding minus infinity, which does not help against NaN. torch itself
        would write the zeros, and take all the memory at once.
        """
        if like.device.type != "cpu":
            return like.new_zeros(shape)
        size = math.prod(shape) * like.element_size()
        memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        tensor = torch.frombuffer(memory, dtype=like.dtype).view(shape)
        self._memory.append((memory, tensor))
        return tensor
