"""`ovenbird serve`: start the service."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import click
import gunicorn

from model_store import Store, StoreAway, StoreError, WrongStoreUrl, choose_store, open_store
from model_store.onnxruntime_builds import installed_builds
from model_store.remote.address import is_url
from service import placement
from service.errors import InvalidSettings, ProviderUnavailable, ServiceError, UnknownModel
from service.runtime import onnxruntime_build
from service.runtime.providers import Asked
from service.runtime.session import check_provider
from service.settings import PREFIX, Settings, field_hints, parse

# The public options; the other settings are set by their environment variables.
OPTIONS = (
    "store",
    "model_name",
    "cache",
    "host",
    "port",
    "workers",
    "devices",
    "provider",
    "require_provider",
    "control",
    "load",
)
DEFAULTS = {
    "store": "./store if it exists, else the starter models",
    "model_name": "none",
    "cache": "~/.cache/ovenbird",
    "devices": "none",
    "load": "nothing",
}
METAVARS = {
    "store": "DIR|URL",
    "model_name": "NAME",
    "cache": "DIR",
    "devices": "N,N…|cpu:N-N,…",
    "provider": "auto|NAME,NAME…",
    "load": "NAME|'*'",
}


class _Setting(click.ParamType[Any]):
    """Reads an option as its environment variable is read, so that both complain alike."""

    def __init__(self, name: str) -> None:
        self.setting = name
        self.name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return parse(self.setting, str(value))
        except ValueError as error:
            self.fail(f"{value!r}: {error}", param, ctx)


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    hints = field_hints()
    for name in reversed(OPTIONS):
        kind, meaning, _ = hints[name]
        default = DEFAULTS.get(name, Settings().to_env()[f"{PREFIX}{name.upper()}"])
        choices = "|".join(get_args(kind)) if get_origin(kind) is Literal else None
        flag: dict[str, Any] = {"is_flag": True, "default": None}
        valued = {
            "type": _Setting(name) if name != "load" else str,
            "multiple": name == "load",
            "metavar": METAVARS.get(name, choices or name.upper()),
        }
        command = click.option(
            f"--{name.replace('_', '-')}",
            help=f"{meaning}  [default: {default}; env var: {PREFIX}{name.upper()}]",
            **(flag if kind is bool else valued),
        )(command)
    return command


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@_options
def serve(**options: Any) -> None:
    """Serve the models of a store over HTTP until stopped with Ctrl-C or SIGTERM.

    \b
    Examples:
      ovenbird serve                                  ./store, or the starter models, on 127.0.0.1:8000
      ovenbird serve --store ./store --port 9000
      ovenbird serve --store s3://bucket/models       watched, and cached: it serves on when the bucket is away
      ovenbird serve --host 0.0.0.0 --workers 4       for every network, four processes
      ovenbird serve --devices 0,1                    a worker on each of two GPUs
      ovenbird serve --devices cpu:0-3,cpu:4-7        a worker on each of two groups of cores
      ovenbird serve --provider cuda                  refuse to serve from anything but the GPU
      ovenbird serve --provider cuda,cpu              prefer it; say where a model got the CPU
      ovenbird serve --store ./wine --model-name wine one model's folder, or one version's, under this name
      ovenbird serve --control none                   load once, do not watch for new versions
      ovenbird serve --control explicit --load mnist-cnn --load nsmc-text

    Requests in flight are finished before it stops. All further settings (batch size, limits, timeouts) are
    environment variables, listed in README.md.
    """
    settings = _settings({name: value for name, value in options.items() if value not in (None, ())})
    _check_before_start(settings)
    os.environ.update(settings.to_env())
    _become_gunicorn()


def _become_gunicorn() -> None:
    """Run gunicorn in this process, as `python -m gunicorn` would; a new one would import half a second's worth again.

    Anew all the same if something was imported that belongs into the workers alone: a GPU does not survive a fork, and
    prometheus_client looks once whether there are several.
    """
    arguments = ["-c", "python:service.gunicorn_conf"]
    if not sys.modules.keys().isdisjoint(("onnxruntime", "prometheus_client")):
        os.execv(sys.executable, [sys.executable, "-m", "gunicorn", *arguments])  # noqa: S606  (no shell is wanted)
    sys.argv = [str(Path(gunicorn.__file__).with_name("__main__.py")), *arguments]
    wsgiapp = importlib.import_module("gunicorn.app.wsgiapp")
    wsgiapp.run()


def _settings(given: dict[str, Any]) -> Settings:
    try:
        settings = Settings.from_env(**given)
        placement.check(settings)
        return settings
    except InvalidSettings as error:
        raise click.UsageError("\n       ".join(error.problems)) from None


def _check_before_start(settings: Settings) -> None:
    """Find what would stop every worker, and say it in one line."""
    if settings.load and settings.control != "explicit":
        raise click.UsageError("--load names what to load with --control explicit")
    try:
        onnxruntime_build.check_builds(installed_builds())
    except ProviderUnavailable as error:
        raise click.ClickException(str(error)) from None
    location = choose_store(settings.store or None).location
    if is_url(location):
        _check_url(location, settings)
    elif os.path.isfile(location):  # noqa: PTH113
        raise click.UsageError(f"store {location!r} is a file; expected the folder in which the models lie")
    elif not os.path.isdir(location):  # noqa: PTH112
        if settings.control != "poll":
            raise click.ClickException(f"store {location!r}: no such folder")
        click.echo(f"store {location!r} is not there yet; what is published into it will be served", err=True)
    _check_provider_and_models(settings, location)
    _check_address(settings)


def _check_url(location: str, settings: Settings) -> None:
    """Open a remote store, which touches no network: nothing may live here that does not survive a fork."""
    try:
        opened = open_store(location, cache=settings.cache)
    except WrongStoreUrl as error:
        raise click.UsageError(str(error)) from None
    except StoreError as error:
        raise click.ClickException(str(error)) from None
    looks_once = settings.control == "none" or bool(settings.load)
    if looks_once and (reason := _in_a_child(partial(_why_nothing_is_there, opened))):
        raise click.ClickException(reason)


def _why_nothing_is_there(store: Store) -> str:
    """Look at a remote store of which nothing is in the cache; say why nothing of it can be had, if so."""
    try:
        if not store.models():
            store.refresh()
    except StoreError as error:
        advice = "Start when it answers, or with --control poll, which waits for it"
        return f"{error}; nothing of it is in the cache. {advice}" if isinstance(error, StoreAway) else str(error)
    return ""


def _in_a_child(work: Callable[[], str]) -> str:
    """Do in a process of its own what leaves threads behind; "" if that dies."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def tell() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C is answered by the parent
        sender.send(work())

    child = context.Process(target=tell)
    child.start()
    sender.close()
    try:
        return str(receiver.recv())
    except EOFError:
        return ""
    finally:
        child.join()


def _check_provider_and_models(settings: Settings, location: str) -> None:
    try:
        if settings.provider not in (("auto",), ("cpu",)) or settings.provider_options:
            check_provider(Asked.of(settings))
        if settings.control == "explicit" and not is_url(location):
            known = [settings.model_name] if settings.model_name else Store(location).models()
            for name in settings.load:
                if name not in ("*", *known):
                    raise UnknownModel(name, known=known)
    except InvalidSettings as error:
        raise click.UsageError("\n       ".join(error.problems)) from None
    except (ServiceError, StoreError) as error:
        raise click.ClickException(str(error)) from None


def _check_address(settings: Settings) -> None:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            raise click.ClickException(
                f"cannot listen on {settings.host}:{settings.port}: {error.strerror}; choose another --host or --port"
            ) from None
