"""Batches made ahead by threads, each a function of its step alone: an interrupted training goes on with the next one.

Threads, not the processes of torch's `DataLoader`: OpenCV decodes outside of Python's lock, decoded images are shared,
and no process that computes is forked.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

from splitnet.errors import ConfigError

T = TypeVar("T")


class BatchStream(ABC, Generic[T]):
    """An endless stream of batches from a step on. Use as a context, or call `stop`."""

    def __init__(self, first_step: int = 0, threads: int = 1) -> None:
        """Take the step of the first batch. ConfigError without a thread."""
        if threads < 1:
            raise ConfigError(f"{threads} threads to make batches: too few")
        self._step, self._lead = first_step, 2 * threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="batches")
        self._ahead: deque[Future[T]] = deque()
        self._is_stopped = False

    @abstractmethod
    def batch(self, step: int) -> T:
        """Return the batch of a step, whoever asks and in whatever order."""

    def __iter__(self) -> Iterator[T]:
        """Yield batches until `stop`. Raises whatever making one raised."""
        while not self._is_stopped:
            while len(self._ahead) <= self._lead:
                self._ahead.append(self._pool.submit(self.batch, self._step))
                self._step += 1
            yield self._ahead.popleft().result()

    def __enter__(self) -> BatchStream[T]:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.stop()

    def stop(self) -> None:
        """End the threads; returns when they have ended."""
        self._is_stopped = True
        self._pool.shutdown(cancel_futures=True)
