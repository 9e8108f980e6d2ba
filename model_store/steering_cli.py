"""`ovenbird store label | policy | rollback`: change how a published model is served."""

from __future__ import annotations

import click

from model_store import steering
from model_store.serving import VersionPolicy
from model_store.store import parse_version
from model_store.store_options import fail_in_one_line, open_store, store_option


@click.command()
@click.argument("model", metavar="MODEL[@VERSION]")
@click.argument("name", metavar="[LABEL]", required=False)
@click.option("--remove", is_flag=True, help="Take the label away.")
@store_option
def label(model: str, name: str | None, remove: bool, store_location: str | None) -> None:
    """Give a version a name, which requests may use instead of its number: /v1/models/MODEL/labels/LABEL.

    A labelled version is served, whatever the version policy says. A label that is moved leads to its new version as
    soon as that serves.

    \b
    Examples:
      ovenbird store label mnist-cnn@3 stable
      ovenbird store label mnist-cnn@4 canary
      ovenbird store label mnist-cnn canary --remove
      ovenbird store label mnist-cnn                  the labels that there are
    """
    bare, _, version = model.partition("@")
    opened = open_store(store_location)
    if name is None:
        fail_in_one_line(lambda: opened.resolve(bare))
        known = fail_in_one_line(lambda: opened.labels(bare))
        if not known:
            click.echo(f"{bare} has no labels")
        for known_label, number in sorted(known.items()):
            click.echo(f"{known_label}  {bare}@{number}")
    elif remove:
        fail_in_one_line(lambda: steering.remove_label(opened, bare, name))
        click.echo(f"{bare} has no label {name} any more")
    elif not version:
        newest = fail_in_one_line(lambda: opened.resolve(bare))
        raise click.UsageError(f"which version? {bare}@VERSION, for example {newest}")
    else:
        number = fail_in_one_line(lambda: parse_version(version))
        fail_in_one_line(lambda: steering.set_label(opened, bare, name, number))
        click.echo(f"{name} is {bare}@{number}")


class _Policy(click.ParamType[VersionPolicy]):
    name = "policy"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> VersionPolicy:
        try:
            return VersionPolicy.parse(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command()
@click.argument("model")
@click.argument("chosen", metavar="[latest:N|all|specific:N,N]", type=_Policy(), required=False)
@store_option
def policy(model: str, chosen: VersionPolicy | None, store_location: str | None) -> None:
    """Say which versions of a model are served, or show it; by default the newest one.

    \b
    Examples:
      ovenbird store policy mnist-cnn                 what holds now, and which versions it chooses
      ovenbird store policy mnist-cnn latest:2        the two newest
      ovenbird store policy mnist-cnn all
      ovenbird store policy mnist-cnn specific:1,3    these and no others, whatever is published
    """
    opened = open_store(store_location)
    if chosen is not None:
        fail_in_one_line(lambda: steering.set_policy(opened, model, chosen))
    else:
        fail_in_one_line(lambda: opened.resolve(model))
    serving = fail_in_one_line(lambda: opened.serving(model))
    click.echo(
        f"{model}: {serving.version_policy}, which {_choice(fail_in_one_line(lambda: opened.select(model)).versions)}"
    )
    if serving.withdrawn:
        click.echo(f"withdrawn: {', '.join(map(str, serving.withdrawn))}")


@click.command()
@click.argument("model")
@click.option("--to", "to", type=int, metavar="VERSION", help="The version to serve.  [default: the one before]")
@store_option
def rollback(model: str, to: int | None, store_location: str | None) -> None:
    """Serve an earlier version again, of all models that were published together with this one.

    The newer versions are withdrawn: they stay in the store, and --to brings one back. A label that led to one of
    them moves along. The next version that is published is served as ever. A service that watches the store follows
    within seconds; with control=explicit, load the model again.

    \b
    Examples:
      ovenbird store rollback mnist-cnn               the version before the one that serves
      ovenbird store rollback mnist-cnn --to 2
    """
    opened = open_store(store_location)
    done = fail_in_one_line(lambda: steering.roll_back(opened, model, to))
    for name, versions in done.withdrawn.items():
        click.echo(f"withdrawn: {', '.join(f'{name}@{version}' for version in versions)}")
    for moved in done.moved_labels:
        click.echo(f"label {moved} moved along")
    selected = fail_in_one_line(lambda: opened.select(model)).versions
    click.echo(f"{model}: {_choice(selected)}")


def _choice(versions: tuple[int, ...]) -> str:
    return f"serves {', '.join(map(str, versions))}" if versions else "serves none"
