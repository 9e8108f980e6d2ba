"""`ovenbird score`: a model over files of any size, without a service."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from model_store import StoreError
from model_store.errors import InvalidName, UnknownModel, UnknownVersion
from model_store.store import Store, StoredVersion
from model_store.store_options import fail_in_one_line, open_store, store_option
from service.errors import InvalidSettings, ServiceError, UnknownLabel
from service.scoring.errors import InvalidColumns, NothingChosen, OutputIsInput, UnknownSource
from service.settings import Settings, parse

if TYPE_CHECKING:
    from service.scoring.job import Outcome
    from service.scoring.planning import Options

Result = TypeVar("Result")

# What a program ends with that was stopped with Ctrl-C.
INTERRUPTED = 130
# What the command was asked for is not there, or cannot be had together.
WRONG_USE = (
    InvalidColumns, InvalidName, NothingChosen, OutputIsInput, UnknownLabel, UnknownModel, UnknownSource,
    UnknownVersion,
)  # fmt: skip
EXTRAS = {"pyarrow": "score", "ray": "score,ray", "pandas": "score,ray", "onnxruntime": "score"}


class WrongUse(click.ClickException):
    """What was asked for cannot be done as it was asked: one line, and the exit code of wrong use."""

    exit_code = 2


def _column(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """Read INPUT=NAME, or NAME alone for a model with one input."""
    chosen: dict[str, str] = {}
    for value in values:
        name, _, column = value.rpartition("=")
        if not column:
            raise click.BadParameter(f"{value!r}: expected INPUT=NAME, or NAME")
        chosen[name] = column
    return chosen


def _provider(_context: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    try:
        return None if value is None else parse("provider", value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r}: {error}") from None


def _names(_context: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    return None if value is None else tuple(dict.fromkeys(name.strip() for name in value.split(",") if name.strip()))


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("model", metavar="MODEL[@VERSION|@LABEL]")
@click.option(
    "--in",
    "source",
    required=True,
    metavar="FILE|FOLDER",
    type=click.Path(path_type=Path),
    help="What to score: .parquet, .csv, .jsonl, .npy, .npz; a folder of these; or a folder of pictures.",
)
@click.option(
    "--out",
    "target",
    required=True,
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where the answers go: .parquet, .csv or .jsonl.",
)
@store_option
@click.option(
    "--column",
    "columns",
    metavar="[INPUT=]NAME",
    multiple=True,
    callback=_column,
    help="The table's column for an input, if it has another name. INPUT is a name that `ovenbird store show MODEL` "
    "lists: of an input, or of one of its columns. Repeatable.",
)
@click.option(
    "--keep",
    metavar="NAME,NAME…",
    callback=_names,
    help="Columns to pass through; '' keeps none.  [default: all but the pictures and vectors that are scored]",
)
@click.option("--all", "all_probabilities", is_flag=True, help="All probabilities, not that of the best label alone.")
@click.option("--prefix", default="", metavar="TEXT", help="Put before the names of the answers' columns.")
@click.option(
    "--errors",
    type=click.Choice(["fail", "null"]),
    default="fail",
    show_default=True,
    help="A row that cannot be answered: end there; or write nulls, and why into a column `error`. A line that is "
    "no JSON object is such a row; a row of a CSV with too few cells ends the scoring either way.",
)
@click.option("--batch-size", type=click.IntRange(1, 65536), help="Rows that run together.  [default: as measured]")
@click.option(
    "--part-rows",
    type=click.IntRange(1, 10**7),
    help="Rows of a part: a kill costs the work on one for each processor.  [default: half a second's worth, fewer "
    "of wide rows]",
)
@click.option(
    "--provider",
    metavar="auto|NAME,NAME…",
    callback=_provider,
    help="Execution providers, best first.  [default: auto; env var: OVENBIRD_PROVIDER]",
)
@click.option("--fresh", is_flag=True, help="Start anew, and replace what is there of the output.")
@click.option(
    "--ray",
    "address",
    metavar="ADDRESS",
    help="Score on a Ray cluster: auto, local, HOST:PORT or ray://HOST:PORT. See below.",
)
@click.option("--workers", type=click.IntRange(1, 65536), help="With --ray: processes.  [default: the cluster's CPUs]")
def score(
    model: str, source: Path, target: Path, store_location: str | None, provider: tuple[str, ...] | None,
    fresh: bool, address: str | None, workers: int | None, errors: str, **chosen: Any,
) -> None:  # fmt: skip
    """Score files of any size with a model of the store: no service, bounded memory, every processor used.

    \b
    Examples:
      ovenbird score mnist-cnn --in scans/ --out answers.csv                  a folder of pictures
      ovenbird score nsmc-text --in reviews.parquet --out answers.parquet --column review
      ovenbird score wine-dnn@stable --in wines.csv --out answers.jsonl --keep id --all
      ovenbird score people --in people.jsonl --out answers.parquet --column age=years --errors null
      ovenbird score mnist-dnn --in pixels.npz --out answers.parquet --column images
      ovenbird score wine-dnn --in wines/ --out answers.parquet --ray auto --workers 8

    MODEL alone is the newest version that the service would serve: as its policy says, and none that was withdrawn.
    MODEL@VERSION is any. It is checked as the service checks it, its golden rows among it, before it may answer.

    COLUMNS are found by the names that the model has for them (ovenbird store show MODEL). An image is a path
    (relative to the table's folder), the bytes of a picture, or a list of pixels. The answers stand beside the columns
    that pass through, in the order of the input: label and probability for a classifier, else a column of each output's
    name. Cells of a CSV pass through as the text they are, those of JSON Lines as the JSON they are (in a Parquet file:
    with the type that all of a column have, else as texts). Lists in a CSV are written as JSON. The columns of JSON
    Lines are the keys of the first 1000 lines.

    STOPPED by Ctrl-C, a kill or a full disk? The same command goes on where it was; no row is lost or doubled. Until
    it is done, OUT.parts and OUT.tmp hold what is finished; OUT.score.json says what was scored, by which model. An
    output that is done is not scored again; with another input, model or option it is refused, unless you say --fresh.
    An output that is an input, or lies in the input's folder, is always refused.

    RAY needs the extra `ray` here and Ovenbird on every machine of the cluster, and input files that all of them can
    read under the same path. The model is sent to them; this process writes the output. A scoring with --ray cannot go
    on after a kill: it starts anew, and --batch-size and --part-rows are Ray's to decide unless given.
    """
    if workers and not address:
        raise click.UsageError("--workers is for --ray; here every processor is used")
    stored, settings = _prepared(model, store_location, provider)
    _in_one_line(lambda: _score(stored, settings, source, target, errors, fresh, address, workers, chosen), target)


def _prepared(model: str, location: str | None, provider: tuple[str, ...] | None) -> tuple[StoredVersion, Settings]:
    opened = open_store(location)
    stored = _in_one_line(lambda: _found(opened, model), None)
    given: dict[str, Any] = {} if provider is None else {"provider": provider}
    try:
        settings = Settings.from_env(**given).for_model(fail_in_one_line(lambda: opened.serving(stored.model)))
    except InvalidSettings as error:
        raise click.UsageError("\n       ".join(error.problems)) from None
    # What was asked for here comes before what serving.json says.
    return stored, settings if provider is None else Settings.from_env(**given)


def _found(opened: Store, model: str) -> StoredVersion:
    from service.scoring.job import find_version

    stored = find_version(opened, model)
    opened.fetch(stored)
    return stored


def _score(
    stored: StoredVersion, settings: Settings, source: Path, target: Path, errors: str, fresh: bool,
    address: str | None, workers: int | None, chosen: dict[str, Any],
) -> None:  # fmt: skip
    from service.scoring import job
    from service.scoring.planning import Options

    chosen = {name: value for name, value in chosen.items() if value is not None}
    options = Options(null_errors=errors == "null", **chosen)
    if address is None:
        outcome = job.score(stored, settings, source, target, options, fresh=fresh)
    else:
        outcome = _score_on_ray(stored, settings, source, target, options, fresh, address, workers)
    click.echo(_told(outcome, target, stored))


def _score_on_ray(
    stored: StoredVersion, settings: Settings, source: Path, target: Path, options: Options, fresh: bool,
    address: str, workers: int | None,
) -> Outcome:  # fmt: skip
    from service.scoring.cluster import score_on_ray

    return score_on_ray(stored, settings, source, target, options, address=address, workers=workers, fresh=fresh)


def _told(outcome: Outcome, target: Path, stored: StoredVersion) -> str:
    counted = f"{outcome.rows:,} rows by {stored}" + (f", {outcome.bad:,} of them with an error" if outcome.bad else "")
    if outcome.already:
        return f"{target} is done already: {counted} (--fresh scores them again)"
    return f"{target}: {counted}, in {outcome.seconds:.1f} s"


def _in_one_line(work: Callable[[], Result], target: Path | None) -> Result:
    """Do the work; what goes wrong ends the command with one line and exit code 1, 2 for wrong use, 130 for Ctrl-C."""
    try:
        return work()
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        if name not in EXTRAS:
            raise
        raise click.ClickException(
            f"this needs the Python package {name!r}: pip install 'ovenbird[cpu,{EXTRAS[name]}]'"
        ) from None
    except WRONG_USE as error:
        raise WrongUse(str(error)) from None
    except (ServiceError, StoreError) as error:
        raise click.ClickException(str(error)) from None
    except KeyboardInterrupt:
        kept = f"stopped; the same command goes on with what is left of {target}" if target else "stopped"
        click.echo(f"\n{kept}", err=True)
        raise SystemExit(INTERRUPTED) from None
