"""`ovenbird store`: look into a store and check what lies there."""

from __future__ import annotations

import importlib.metadata
import json
from datetime import UTC
from typing import Any

import click

from model_store.entry_points import PartsGroup
from model_store.errors import StoreError
from model_store.manifest import MANIFEST_FILE, InputSpec, Manifest, OutputSpec, sha256_of
from model_store.steering_cli import label, policy, rollback
from model_store.store import LATEST, Check, Store, StoredVersion
from model_store.store_options import fail_in_one_line, open_store, store_option

CHECKS = "ovenbird.checks"
PARTS = "ovenbird.store_commands"


@click.group(cls=PartsGroup, parts=PARTS, context_settings={"help_option_names": ["-h", "--help"]})
def store() -> None:
    """Look into a model store, say how its models are served, and tell a running service.

    \b
    Examples:
      ovenbird store list                              what there is, and how good it is
      ovenbird store show mnist-cnn                    the newest version, in full
      ovenbird store show mnist-cnn@1 --json           one version's manifest, for a script
      ovenbird store verify --store ./store            digests, ONNX checker and golden replay of everything
      ovenbird store rollback mnist-cnn                serve the version before
      ovenbird store label mnist-cnn@3 stable          give a version a name
      ovenbird store policy mnist-cnn latest:2         serve more than the newest version
      ovenbird store compare mnist-dnn mnist-cnn       two versions side by side, and whether they really differ
      ovenbird store index                             what a running service serves
    """


for _command in (label, policy, rollback):
    store.add_command(_command)


@store.command("list")
@store_option
@click.option("--json", "as_json", is_flag=True, help="One JSON array, for scripts.")
def list_models(store_location: str | None, as_json: bool) -> None:
    """List every published version with what it was made from and how good it is.

    \b
    Examples:
      ovenbird store list
      ovenbird store list --store ./store --json
    """
    opened = open_store(store_location, announce=not as_json)
    stored_versions = fail_in_one_line(lambda: list(opened.all_versions()))
    chosen = {model: roles(opened, model) for model in {stored.model for stored in stored_versions}}
    rows = [
        _row(opened, stored) | {"chosen": chosen[stored.model].get(stored.version, "?")} for stored in stored_versions
    ]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    elif not rows:
        click.echo("the store is empty; publish a model with `ovenbird train`")
    else:
        columns = ("model", "version", "chosen", "recipe", "dataset", "quality", "size_kb", "digest", "problem")
        click.echo(_table(rows, columns))


@store.command()
@click.argument("model", metavar="MODEL[@VERSION]")
@store_option
@click.option("--json", "as_json", is_flag=True, help="The manifest as it is stored.")
def show(model: str, store_location: str | None, as_json: bool) -> None:
    """Show one version in full: its inputs, outputs, origin, quality and parity with Keras.

    MODEL alone is its newest version that was not withdrawn.

    \b
    Examples:
      ovenbird store show mnist-cnn
      ovenbird store show mnist-cnn@2 --json
    """
    name, _, version = model.partition("@")
    opened = open_store(store_location, announce=not as_json)
    stored = fail_in_one_line(lambda: opened.newest(name) if version in ("", LATEST) else opened.resolve(name, version))
    fail_in_one_line(lambda: _fetch_bare(opened, stored))
    if stored.is_bare and not as_json:
        click.echo(_bare_description(opened, stored, roles(opened, name)[stored.version]))
        return
    manifest = fail_in_one_line(lambda: stored.manifest)
    if as_json:
        click.echo(manifest.to_json(), nl=False)
    else:
        click.echo(_description(opened, stored, manifest, roles(opened, name)[stored.version]))


@store.command()
@click.argument("model", metavar="[MODEL[@VERSION]]", required=False)
@store_option
def verify(model: str | None, store_location: str | None) -> None:
    """Check versions: manifest, sha256 of every file, ONNX checker, golden replay. Exit code 1 if any is bad.

    \b
    Examples:
      ovenbird store verify                   everything in the store
      ovenbird store verify mnist-cnn         every version of one model
      ovenbird store verify mnist-cnn@2       one version
    """
    opened = open_store(store_location)
    checks, missing = _installed_checks()
    for name, reason in missing.items():
        click.echo(f"{name}: skipped, {reason}", err=True)
    chosen = fail_in_one_line(lambda: _chosen(opened, model))
    if not chosen:
        click.echo("the store is empty: nothing to verify")
    bad = 0
    for stored in chosen:
        try:
            problems = opened.verify(stored, checks)
        except ModuleNotFoundError as error:
            raise click.ClickException(f"cannot verify: {error}") from None
        bad += bool(problems)
        click.echo(f"{'BAD' if problems else 'ok ':3} {stored}")
        for problem in problems:
            click.echo(f"      {problem}")
    if bad:
        raise click.ClickException(f"{bad} of {len(chosen)} versions are bad")


def _chosen(opened: Store, model: str | None) -> list[StoredVersion]:
    if model is None:
        return list(opened.all_versions())
    name, _, version = model.partition("@")
    if version:
        return [opened.resolve(name, version)]
    opened.resolve(name)
    return [opened.resolve(name, number) for number in opened.versions(name)]


def _installed_checks() -> tuple[dict[str, Check], dict[str, str]]:
    """Load the checks that other packages bring: those that work here, and why the others do not."""
    checks: dict[str, Check] = {}
    missing: dict[str, str] = {}
    for entry_point in importlib.metadata.entry_points(group=CHECKS):
        try:
            checks[entry_point.name] = entry_point.load()
        except ImportError as error:
            missing[entry_point.name] = f"it needs the Python package {error.name!r}"
    return checks, missing


def _row(opened: Store, stored: StoredVersion) -> dict[str, Any]:
    row: dict[str, Any] = {"model": stored.model, "version": stored.version}
    try:
        _fetch_bare(opened, stored)
    except StoreError as error:
        return row | {"problem": str(error)}
    if stored.is_bare:
        size, digest = opened.size(stored) // 1000, sha256_of(stored.onnx_path)[:12]
        return row | {"recipe": "no manifest", "size_kb": size, "digest": digest}
    try:
        manifest = stored.manifest
    except StoreError as error:
        return row | {"problem": str(error)}
    return row | {
        "recipe": manifest.recipe,
        "dataset": manifest.dataset.name,
        "quality": _headline(manifest),
        "size_kb": opened.size(stored) // 1000,
        "digest": manifest.digest[:12],
    }


def _fetch_bare(opened: Store, stored: StoredVersion) -> None:
    """Fetch a version that has nothing but its files to say what it is; of others the manifest is there."""
    if not (stored.path / MANIFEST_FILE).exists():
        opened.fetch(stored)


def _headline(manifest: Manifest) -> str:
    """Name the first metric: recipes put the one that matters most in front."""
    return next((f"{name} {value:.4g}" for name, value in manifest.metrics.items()), "")


def _table(rows: list[dict[str, Any]], columns: tuple[str, ...]) -> str:
    shown = [column for column in columns if any(row.get(column) not in (None, "") for row in rows)]
    lines = [[column.upper() for column in shown]] + [[str(row.get(column, "")) for column in shown] for row in rows]
    widths = [max(len(line[index]) for line in lines) for index in range(len(shown))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def roles(opened: Store, model: str) -> dict[int, str]:
    """Say of each version in a word or two whether it is to serve, and its labels: a service may still refuse it."""
    known = opened.versions(model)
    try:
        serving = opened.serving(model)
        selected = opened.select(model, serving=serving, known=known)
    except StoreError:
        return dict.fromkeys(known, "?")
    found = {}
    for version in known:
        labels = sorted(label for label, number in selected.labels.items() if number == version)
        served = "yes" if version in selected.versions else "no"
        found[version] = ", ".join(["withdrawn" if version in serving.withdrawn else served, *labels])
    return found


def _description(opened: Store, stored: StoredVersion, manifest: Manifest, serving: str) -> str:
    data = manifest.dataset
    sizes = ", ".join(f"{count} {name}" for name, count in data.sizes.items())
    worst = max(manifest.parity.max_abs_difference.values(), default=0.0)
    group = ", ".join(manifest.group.members) if manifest.group else "none"
    facts = {
        "model": str(stored),
        "folder": opened.place_of(stored),
        "created": f"{manifest.created.astimezone(UTC):%Y-%m-%d %H:%M} UTC",
        "digest": f"sha256 {manifest.digest}",
        "chosen": serving,
        "recipe": f"{manifest.recipe}, seed {manifest.seed}",
        "commit": manifest.extra.get("commit", "unknown"),
        "parameters": ", ".join(f"{name}={value}" for name, value in manifest.parameters.items()),
        "data set": f"{data.name} ({sizes}), licence {data.license}",
        "quality": ", ".join(f"{name} {value:.4g}" for name, value in manifest.metrics.items()),
        "parity": f"within {worst:.2g} of Keras at batches of {', '.join(map(str, manifest.parity.batch_sizes))}",
        "group": group,
        "libraries": ", ".join(f"{name} {version}" for name, version in manifest.libraries.items()),
        "report": ", ".join(name for name in manifest.files if name.startswith("report/")) or "none",
    }
    lines = [f"{name + ':':12} {value}" for name, value in facts.items()]
    lines += [f"{'input:':12} {_tensor(spec)}" for spec in manifest.inputs]
    lines += [f"{'output:':12} {_tensor(spec)}" for spec in manifest.outputs]
    return "\n".join(lines)


def _bare_description(opened: Store, stored: StoredVersion, chosen: str) -> str:
    facts = {
        "model": str(stored),
        "folder": opened.place_of(stored),
        "digest": f"sha256 {sha256_of(stored.onnx_path)}",
        "chosen": chosen,
        "manifest": "none: an ONNX file from elsewhere; a running service tells its inputs at /v2/models/"
        + stored.model,
    }
    return "\n".join(f"{name + ':':12} {value}" for name, value in facts.items())


def _tensor(spec: InputSpec | OutputSpec) -> str:
    shape = ", ".join(
        "batch" if size is None and axis == 0 else str(size or "any") for axis, size in enumerate(spec.shape)
    )
    names = spec.columns if isinstance(spec, InputSpec) else spec.labels
    listed = f" ({', '.join(names[:100])}{', …' if len(names) > 100 else ''})" if names else ""
    return f"{spec.name} {spec.dtype}[{shape}] {spec.kind}{listed}"
