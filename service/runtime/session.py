"""One ONNX model, ready to run: an onnxruntime session whose provider is known, and its signature."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from service.errors import InferenceFailed, InputRejected, ModelRefused, ProviderUnavailable, ServiceError
from service.runtime import onnxruntime_build, providers, turns
from service.runtime.providers import Asked, Build, Obtained
from service.tensors import DATATYPES, Array, Arrays, Signature, TensorSpec

# What to do about a model whose weights lie in another file that is not there, or cannot be read.
ONE_FILE = "put the file with its weights beside model.onnx, or save both in one (PyTorch: external_data=False)"

_ONNX_DTYPES = {"float": "float32", "double": "float64"}
ANY = Asked()


class Session:
    """Runs one model. `run` may be called from several threads; onnxruntime releases the GIL meanwhile.

    Attributes:
        obtained: the execution providers that the session really obtained, and those it was to have.
        signature: the graph's inputs and outputs, read from the file itself.
        cuda: what was asked of CUDA, if it runs there, even in part.
    """

    def __init__(
        self, model: bytes, asked: Asked = ANY, *, weights: Mapping[str, bytes] | None = None, threads: int = 1
    ) -> None:
        """Build a session from a model's bytes.

        Args:
            model: the ONNX file.
            asked: what is asked of the execution providers.
            weights: the files that it keeps weights in (ONNX's external data), by the names that it has for them.
            threads: how many threads one run may take.

        Raises:
            InvalidSettings: there is no such provider.
            ProviderUnavailable: no provider that was asked for can be had.
            ModelRefused: onnxruntime cannot load the model.
        """
        onnxruntime = onnxruntime_build.load()
        self._session, self.obtained = _first_that_works(
            _build_of(onnxruntime),
            asked,
            lambda names: _make(
                onnxruntime, model, weights or {}, providers.with_options(names, asked, threads=threads), threads
            ),
        )
        self.signature = Signature(
            tuple(_spec(value) for value in self._session.get_inputs()),
            tuple(_spec(value) for value in self._session.get_outputs()),
        )
        self._names = [spec.name for spec in self.signature.outputs]
        errors = onnxruntime.capi.onnxruntime_pybind11_state
        self._shrinking = _run_options(onnxruntime, "memory.enable_memory_arena_shrinkage", "cpu:0")
        self._rejections = (errors.InvalidArgument, ValueError)
        self.cuda = providers.cuda_of(asked, self.obtained)
        self._compute = self._session.run if self.cuda is None else self._compute_in_turn
        # A captured graph reads and writes at the addresses it was captured with, where only bound buffers stay.
        capturing = self.cuda is not None and self.cuda.graphs
        self._options = _run_options(onnxruntime, "gpu_graph_id", "-1") if capturing else None

    def give_memory_back(self, inputs: Arrays) -> None:
        """Run once more, with few rows, and give back the memory that larger batches have taken.

        onnxruntime keeps for ever what the largest batch so far needed; warm-up tries larger ones than will come.
        """
        if self.obtained.first == providers.CPU:
            self._session.run(self._names, inputs, self._shrinking)

    def prepare(self, batch: Arrays) -> None:
        """Do nothing: it takes batches of any size. What pads them makes buffers."""

    def run(self, inputs: Arrays) -> dict[str, Array]:
        """Compute all outputs, by name.

        Raises:
            InputRejected: the model refuses the values (an index outside its table, for instance).
            InferenceFailed: the runtime failed otherwise.
        """
        try:
            values = self._compute(self._names, inputs, self._options)
        except Exception as error:  # onnxruntime's errors share no base class
            raise self.translated(error) from error
        return self._named(values)

    def io_binding(self) -> Any:
        """Make an empty binding of onnxruntime's to this session."""
        return self._session.io_binding()

    def run_bound(self, binding: Any, options: Any = None) -> dict[str, Array]:
        """Compute from and into what is bound, all outputs in the order of the signature; return copies of them.

        Takes no turn at the GPU, and raises what onnxruntime does, here a RuntimeError whatever is wrong.
        """
        self._session.run_with_iobinding(binding, options)
        return self._named(binding.copy_outputs_to_cpu())

    def translated(self, error: Exception) -> ServiceError:
        """Say in the service's errors what onnxruntime raised."""
        if isinstance(error, self._rejections):
            return InputRejected(f"the model refuses this input: {_first_line(error)}")
        return InferenceFailed(_first_line(error))

    def _compute_in_turn(self, *arguments: Any) -> Any:
        with turns.GPU.running():
            return self._session.run(*arguments)

    def _named(self, values: Sequence[Array]) -> dict[str, Array]:
        return dict(zip(self._names, map(_usual, values), strict=True))


def _run_options(onnxruntime: Any, name: str, value: str) -> Any:
    options = onnxruntime.RunOptions()
    options.add_run_config_entry(name, value)
    return options


def check_provider(asked: Asked) -> None:
    """Raise `InvalidSettings` or `ProviderUnavailable` if no session can get what is asked for, whatever the model."""
    build = _build_of(onnxruntime_build.load())
    providers.tries(providers.wanted(asked, build), build)


def _build_of(onnxruntime: Any) -> Build:
    return Build(onnxruntime.get_available_providers(), onnxruntime.get_all_providers())


def _first_that_works(build: Build, asked: Asked, make: Callable[[Sequence[str]], Any]) -> tuple[Any, Obtained]:
    wanted = providers.wanted(asked, build)
    problems = providers.missing(wanted, build)
    refused = False
    for names in providers.tries(wanted, build):
        try:
            session = make(names)
        except Exception as error:  # onnxruntime's errors share no base class
            refused = True
            problems.append(f"{names[0]}: {_first_line(error)}")
            continue
        refused = False
        got = tuple(session.get_providers())
        if got[0] != names[0]:
            problems.append(f"{names[0]}: the session got {', '.join(got)}; the log of onnxruntime above says why")
        if got[0] in wanted:
            return session, Obtained(wanted, got, "; ".join(problems))
    if refused:
        hint = f"; {ONE_FILE}" if any("xternal" in problem for problem in problems) else ""
        raise ModelRefused(f"onnxruntime cannot load the model: {'; '.join(problems)}{hint}")
    raise ProviderUnavailable("; ".join(problems))


def _make(
    onnxruntime: Any, model: bytes, weights: Mapping[str, bytes], chosen: list[providers.Provider], threads: int
) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads that spin between two runs take the processor from the event loop.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    if weights:
        _give_weights(options, weights, onnxruntime.__version__)
    # Else it would make another session, on the CPU, when this one cannot be made, and when a provider fails in a run.
    return onnxruntime.InferenceSession(model, options, providers=chosen, enable_fallback=0)


def _give_weights(options: Any, weights: Mapping[str, bytes], version: str) -> None:
    try:
        give = options.add_external_initializers_from_files_in_memory
    except AttributeError:
        names = ", ".join(weights)
        raise ModelRefused(
            f"external data in {names} is read by onnxruntime from 1.24 on, and this is {version}"
        ) from None
    give(list(weights), list(weights.values()), [len(content) for content in weights.values()])


def _usual(array: Array) -> Array:
    """Call 64-bit integers by NumPy's usual name: onnxruntime's, long long, is one whose scalars orjson refuses."""
    return array.view(array.dtype.name) if array.dtype.char in "qQ" else array


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
