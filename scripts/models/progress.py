"""How far a file is, said in lines for a person."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

_RATE_SECONDS = 10.0
_LONGEST_NAME = 48


def amount(size_bytes: float, like: float | None = None) -> str:
    """Return bytes as text in the decimal unit that fits `like`, or `size_bytes` itself."""
    scale = size_bytes if like is None else like
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if scale >= factor:
            value = size_bytes / factor
            return (
                f"{value:.1f} {unit}"
                if unit == "GB" or scale < 10 * factor
                else f"{value:.0f} {unit}"
            )
    return f"{size_bytes:.0f} B"


class Progress:
    """Reports how far a file is, at most once a second."""

    def __init__(
        self,
        verb: str,
        name: str,
        total: int | None,
        report: Callable[[str], None],
        *,
        done: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._what = f"{verb} {_short(name)}"
        self._total = total
        self._done = done
        self._report = report
        self._clock = clock
        self._said = clock()
        self._samples = deque([(self._said, done)])

    def add(self, count: int) -> None:
        """Count `count` bytes more."""
        self._done += count
        now = self._clock()
        if now - self._said < 1.0:
            return
        self._said = now
        self._samples.append((now, self._done))
        while len(self._samples) > 2 and now - self._samples[0][0] > _RATE_SECONDS:
            self._samples.popleft()
        since, had = self._samples[0]
        self._report(self._line((self._done - had) / (now - since)))

    def _line(self, rate: float) -> str:
        speed = f"{amount(rate)}/s"
        if not self._total:
            return f"{self._what}: {amount(self._done)}, {speed}"
        done = amount(self._done, like=self._total).split(" ", maxsplit=1)[0]
        share = f"{100 * self._done / self._total:.0f} %"
        left = f", {_span((self._total - self._done) / rate)} left" if rate > 0 else ""
        return f"{self._what}: {done} of {amount(self._total)}, {share}, {speed}{left}"


def _short(name: str) -> str:
    if len(name) <= _LONGEST_NAME:
        return name
    half = (_LONGEST_NAME - 1) // 2
    return f"{name[:half]}…{name[-half:]}"


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
