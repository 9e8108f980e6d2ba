"""One ONNX model, ready to run: an onnxruntime session whose provider is known, and its signature."""

from __future__ import annotations

from typing import Any

from service.errors import InferenceFailed, InputRejected, ModelRefused, ProviderUnavailable
from service.runtime import onnxruntime_build, providers
from service.tensors import DATATYPES, Array, Arrays, Signature, TensorSpec

_ONNX_DTYPES = {"float": "float32", "double": "float64"}


class Session:
    """Runs one model. `run` may be called from several threads; onnxruntime releases the GIL meanwhile.

    Attributes:
        provider: the execution provider that the session really obtained.
        signature: the graph's inputs and outputs, read from the file itself.
    """

    def __init__(self, model: bytes, *, provider: str = "auto", threads: int = 1) -> None:
        """Build a session from a model's bytes.

        Raises:
            ProviderUnavailable: the provider cannot be had.
            ModelRefused: onnxruntime cannot load the model.
        """
        onnxruntime = onnxruntime_build.load()
        available = onnxruntime.get_available_providers()
        self._session, self.provider = _first_that_works(
            onnxruntime, model, providers.candidates(provider, available), threads
        )
        self.signature = Signature(
            tuple(_spec(value) for value in self._session.get_inputs()),
            tuple(_spec(value) for value in self._session.get_outputs()),
        )
        self._names = [spec.name for spec in self.signature.outputs]
        errors = onnxruntime.capi.onnxruntime_pybind11_state
        self._rejections = (errors.InvalidArgument, ValueError)

    def run(self, inputs: Arrays) -> dict[str, Array]:
        """Compute all outputs, by name.

        Raises:
            InputRejected: the model refuses the values (an index outside its table, for instance).
            InferenceFailed: the runtime failed otherwise.
        """
        try:
            values = self._session.run(self._names, inputs)
        except self._rejections as error:
            raise InputRejected(f"the model refuses this input: {_first_line(error)}") from None
        except Exception as error:  # onnxruntime's errors share no base class
            raise InferenceFailed(_first_line(error)) from error
        return dict(zip(self._names, values, strict=True))


def check_provider(provider: str) -> None:
    """Raise `ProviderUnavailable` if no session can get this provider, whatever the model."""
    providers.candidates(provider, onnxruntime_build.load().get_available_providers())


def _first_that_works(
    onnxruntime: Any, model: bytes, choices: list[list[providers.Provider]], threads: int
) -> tuple[Any, str]:
    for index, choice in enumerate(choices):
        try:
            session = _build(onnxruntime, model, choice, threads)
            return session, providers.check_obtained(choice, session.get_providers())
        except ProviderUnavailable:
            if index == len(choices) - 1:
                raise
    raise ProviderUnavailable("no execution provider to try")


def _build(onnxruntime: Any, model: bytes, choice: list[providers.Provider], threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads that spin between two runs take the processor from the event loop.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(model, options, providers=choice)
    except Exception as error:  # onnxruntime's errors share no base class
        raise ModelRefused(f"onnxruntime cannot load the model: {_first_line(error)}") from None


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0][:500] or type(error).__name__


def _spec(value: Any) -> TensorSpec:
    kind = value.type.removeprefix("tensor(").removesuffix(")")
    datatype = DATATYPES.get(_ONNX_DTYPES.get(kind, kind))
    if datatype is None:
        hint = "; convert a scikit-learn model with options={'zipmap': False}" if kind.startswith("seq(map(") else ""
        raise ModelRefused(f"{value.name!r} has type {value.type}, which is no tensor that can be served{hint}")
    shape = tuple(size if isinstance(size, int) and size > 0 else None for size in value.shape)
    return TensorSpec(value.name, datatype, shape)
