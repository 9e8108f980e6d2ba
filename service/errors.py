"""What can go wrong in the service, named by cause. Which HTTP status each has is decided in `web/problems.py`.

ServiceError
├── InvalidSettings        the configuration; all problems at once
├── BadRequest             the caller can mend it
│   ├── MalformedBody          not JSON, or not an inference request
│   ├── WrongTensor            a tensor's name, shape, datatype or data does not fit the model
│   ├── InputRejected          the model itself refuses the values (an id outside its table)
│   └── UnrepresentableOutput  an output that JSON cannot carry (NaN, Infinity)
├── UnsupportedMedia       a content type or encoding that is not read
├── BodyTooLarge           the body is over the limit
├── BodyTooSlow            the body did not arrive in time
├── NotFound               no such model, version or page
│   ├── UnknownModel
│   ├── UnknownVersion
│   ├── UnknownLabel
│   └── NoReport               a version that was published without a page about it
├── Unsupported            a part of the protocol that is not there
├── NotReady               the model exists but does not serve
├── QueueFull              too much is waiting already
├── DeadlineExceeded       the request waited longer than it may
├── ControlRefused         a load or unload that could not be done in every worker
├── InferenceFailed        the runtime failed on a request that looked right
├── ProviderUnavailable    the execution provider that was asked for is not to be had
└── ModelRefused           a version that may not serve: corrupt, or it disagrees with its golden file
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence


class ServiceError(Exception):
    """Something that the service tells its caller or its operator."""


class InvalidSettings(ServiceError):
    """Settings that cannot be used; names all of them at once."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


class BadRequest(ServiceError):
    """The caller sent something that cannot be answered as it is."""


class MalformedBody(BadRequest):
    """The body is not JSON, or not a request of the protocol."""


class WrongTensor(BadRequest):
    """A tensor does not fit the model's signature."""


class InputRejected(BadRequest):
    """The model refuses the values of a well-formed tensor."""


class UnrepresentableOutput(BadRequest):
    """An output holds values that the wire format cannot carry."""


class UnsupportedMedia(ServiceError):
    """The body's content type or encoding is not one that is read here."""


class BodyTooLarge(ServiceError):
    """The body is larger than the limit, in bytes.

    `unread` says that the rest of it was not read, so that the connection cannot be used again.
    """

    def __init__(self, limit: int, *, unread: bool = False) -> None:
        super().__init__(f"the body is larger than the limit of {limit} bytes")
        self.unread = unread


class BodyTooSlow(ServiceError):
    """The body did not arrive within its time, in seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the body did not arrive within {seconds:g} seconds")


class NotFound(ServiceError):
    """What was asked for does not exist."""


class UnknownModel(NotFound):
    """The repository has no such model."""

    def __init__(self, model: str, *, known: Iterable[str], hint: str = "") -> None:
        super().__init__(f"unknown model {model!r}; there is: {', '.join(sorted(known)) or 'none'}{hint}")


class UnknownVersion(NotFound):
    """The model is served, but not in this version."""

    def __init__(self, model: str, version: str, *, known: Iterable[int]) -> None:
        numbers = ", ".join(str(number) for number in known) or "none"
        super().__init__(f"model {model!r} is not served in version {version!r}; served versions: {numbers}")


class UnknownLabel(NotFound):
    """No version of the model that is served has this label."""

    def __init__(self, model: str, label: str, *, known: Iterable[str]) -> None:
        super().__init__(f"model {model!r} has no label {label!r}; it has: {', '.join(sorted(known)) or 'none'}")


class NoReport(NotFound):
    """A version that was published without a page about it."""

    def __init__(self, model: str, version: int) -> None:
        super().__init__(
            f"model {model!r} version {version} has no report; `ovenbird train` publishes one with a model"
        )


class Unsupported(ServiceError):
    """A part of the protocol that this service does not have; says what to do instead."""


class NotReady(ServiceError):
    """The model or version is known but does not serve: it is loading, or it was refused."""


class QueueFull(ServiceError):
    """Too much is waiting already; `retry_after` seconds from now there should be room."""

    def __init__(self, message: str, *, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class DeadlineExceeded(ServiceError):
    """The request waited longer than it may and was not run."""


class ControlRefused(ServiceError):
    """A load or unload that was refused, or could not be done in every worker; says why."""


class InferenceFailed(ServiceError):
    """The runtime failed on a request that looked right."""


class ProviderUnavailable(ServiceError):
    """The execution provider that was asked for cannot be used here."""


class ModelRefused(ServiceError):
    """A version that may not take traffic, and why."""
