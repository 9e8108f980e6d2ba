"""How far a scoring is: a bar on a terminal, else a line every few seconds. Both go to standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import click

LINE_SECONDS = 5.0
STEPS = 1000


class Progress:
    """Shows how many rows were scored, and how fast; the part of the whole (0 to 1) as far as the input tells it."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = self._shown = clock()
        self._rows = 0
        self._steps = 0
        self._bar: Any = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            self._bar = click.progressbar(
                length=STEPS, label="scoring", file=sys.stderr, item_show_func=lambda item: item or self._rate()
            )
            self._bar.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.__exit__(kind, error, trace)

    @property
    def seconds(self) -> float:
        """How long it has gone on."""
        return self._clock() - self._began

    def advance(self, rows: int, whole: float) -> None:
        """Count rows that were scored just now; `whole` is the part of the input that is behind."""
        self._rows += rows
        steps = max(self._steps, int(whole * STEPS))
        if self._bar is not None:
            self._bar.update(steps - self._steps, self._rate())
        elif self._clock() - self._shown >= LINE_SECONDS:
            self._shown = self._clock()
            click.echo(f"scored {self._rate()}, {whole:.0%} of the input", err=True)
        self._steps = steps

    def _rate(self) -> str:
        return f"{self._rows:,} rows, {self._rows / max(self.seconds, 1e-3):,.0f} a second"
