"""Measure everything, or a part of it: `python -m bench.run` (`make bench`).

Needs wrk, the extra `train` (onnx, matplotlib), and for the contenders `python -m bench.prepare`. Whole runs are
written to bench/results, parts and quick ones to run/bench/results.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

import click

from bench.prepare import ROOT
from bench.report import goals, write
from bench.sections import SECTIONS, Run


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--only", metavar="PART,…", help=f"Only these parts of: {', '.join(SECTIONS)}.")
@click.option("--quick", is_flag=True, help="One round of a second each: to see that it works.")
@click.option("--seconds", type=click.IntRange(1), default=3, help="Length of each measurement.")
@click.option("--rounds", type=click.IntRange(1), default=3, help="How often each is repeated, taking turns.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the results.  [default: see above]")
def main(only: str | None, quick: bool, seconds: int, rounds: int, out: Path | None) -> None:
    """Measure this service beside others, with goals, a table, and a picture."""
    if shutil.which("wrk") is None:
        raise click.ClickException("wrk is not installed; it sends the requests: a client in Python would be too slow")
    chosen = only.split(",") if only else list(SECTIONS)
    if unknown := [name for name in chosen if name not in SECTIONS]:
        raise click.UsageError(f"--only: unknown {', '.join(unknown)}; there is: {', '.join(SECTIONS)}")
    run = Run(1, 1, clients=(1, 64)) if quick else Run(seconds, rounds)
    before = os.getloadavg()[0]
    for name in chosen:
        click.echo(f"{name} …", err=True)
        try:
            SECTIONS[name](run)
        except Exception as error:  # one server that fails must not cost the figures of the others
            run.notes.append(f"{name} failed: {type(error).__name__}: {' '.join(str(error).split())[-300:]}")
            click.echo(f"  {run.notes[-1]}", err=True)
    whole = not (only or quick)
    folder = out or (ROOT / "bench" / "results" if whole else ROOT / "run" / "bench" / "results")
    command = shlex.join(["python", "-m", "bench.run", *sys.argv[1:]])
    page = write(run, folder, command=command, loads=(before, os.getloadavg()[0]))
    click.echo("\n".join(goals(run.values)))
    click.echo(f"written: {page}")


if __name__ == "__main__":
    main()
