"""How numba compiles this package: options, caches named by content, calls through addresses."""

import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from threading import RLock
from types import ModuleType
from typing import Any

from llvmlite import ir
from numba import from_dtype, njit, types
from numba.core import cgutils
from numba.core.ccallback import CFunc
from numba.core.codegen import get_host_cpu_features
from numba.core.errors import TypingError
from numba.extending import intrinsic

from sciml.native.dependencies import digest

# `contract` (fused multiply-add) gives nearly all the speed of full fastmath and keeps the order of operations,
# which the range reductions in `activations` rely on.
OPTIONS = {"error_model": "numpy", "fastmath": {"contract"}, "nogil": True}
POINTER = types.CPointer(types.float64)
REGISTER = 8 if "+avx512f" in get_host_cpu_features().split(",") else 4
"""How many float64 the vector registers hold: where they are shorter than what is asked for, LLVM takes several."""


_loading = RLock()


def device(function):
    """Compile a function that only compiled code calls; its machine code becomes part of the caller's."""
    return njit(**OPTIONS)(function)


def reordered(function):
    """Like `device`, and LLVM may keep several partial sums: only for functions that are one plain sum."""
    return njit(error_model="numpy", fastmath={"contract", "reassoc"})(function)


def kernel(function=None, *, parallel: bool = False):
    """Compile a function that Python calls; the machine code is kept between processes.

    numba looks at the kernel's own file to tell whether the stored code is fresh, but kernels contain code from other
    files of this package: the stamp is therefore the digest of all that this file imports.
    """
    if function is None:
        return lambda f: kernel(f, parallel=parallel)
    dispatcher = njit(cache=True, parallel=parallel, **OPTIONS)(function)
    _stamp(dispatcher, function)
    return dispatcher


_compiled: dict[str, CFunc] = {}


def compiled_address(function: Callable, *arguments: types.Type) -> int:
    """Address of a C function without a result, which compiled code calls through `call`.

    It is compiled when it is first asked for, and the machine code is kept between processes as that of a `kernel`.
    """
    name = f"{function.__module__}.{function.__qualname__}"
    with _loading:
        if name not in _compiled:
            options = {key: value for key, value in OPTIONS.items() if key != "nogil"}
            compiled = CFunc(function, (arguments, types.void), {}, options)
            compiled.enable_caching()
            _stamp(compiled, function)
            compiled.compile()
            _compiled[name] = compiled
    return _compiled[name].address


def _stamp(compiled: Any, function: Callable) -> None:
    """Keep machine code by the digest of all that the function's file imports."""
    cache_file = getattr(compiled._cache, "_cache_file", None)
    if cache_file is not None:
        cache_file._source_stamp = digest(Path(function.__code__.co_filename).read_text(encoding="utf-8"))


def cache_folder() -> Path:
    """Where generated sources and their machine code are kept: `SCIML_CACHE`, or the user's cache folder."""
    if "SCIML_CACHE" in os.environ:
        return Path(os.environ["SCIML_CACHE"])
    base = os.environ.get("LOCALAPPDATA") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "sciml"


def load_source(source: str) -> ModuleType:
    """Import generated source as a module whose file is named by its content, so that equal sources compile once.

    Args:
        source: Python text; its functions carry the decorators of `sciml.native.model`.

    Returns:
        The module; importing the same text again returns the same module.
    """
    name = "sciml_generated_" + digest(source)[:24]
    # One thread at a time: a module stands in `sys.modules` before its functions are compiled.
    with _loading:
        return sys.modules[name] if name in sys.modules else _import(name, source)


def _import(name: str, source: str) -> ModuleType:
    """Write the source to the cache, unless it is there, and import it."""
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.py"
    if not path.exists():
        # Written aside and renamed: another process may import the same model at this moment.
        temporary = folder / f"{name}.{os.getpid()}.tmp"
        temporary.write_text(source)
        temporary.replace(path)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None, "a .py file always has a loader"
    assert spec.loader is not None, "a .py file always has a loader"
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


@intrinsic
def at(typingctx, array, offset):
    """Pointer to element `offset` of a float64 array, or of a pointer. The array must outlive the pointer."""

    def generate(context, builder, signature, args):
        data = args[0]
        if isinstance(signature.args[0], types.Array):
            data = context.make_array(signature.args[0])(context, builder, data).data
        return builder.gep(data, [args[1]])

    kind = array if isinstance(array, types.CPointer) else POINTER
    return kind(array, types.intp), generate


def _cast(kind):
    @intrinsic
    def cast(typingctx, address):
        """The memory at an integer address, which belongs to Python, as a pointer or record."""

        def generate(context, builder, signature, args):
            return builder.inttoptr(args[0], context.get_value_type(kind))

        return kind(types.int64), generate

    return cast


# Plain pointers instead of arrays inside the kernels: an array is seven numbers and a reference count to every
# function it is passed to.
pointer = _cast(POINTER)
integer_pointer = _cast(types.CPointer(types.int64))


def record_at(dtype):
    """A function that takes an integer address and gives the record of this type there."""
    return _cast(from_dtype(dtype))


@intrinsic
def call(typingctx, address, arguments):
    """Call the C function at an integer address with a tuple of numbers and pointers; nothing comes back.

    An address needs no type of its own, so one compiled stepper serves every model, and it is cheap to pass from
    Python (an object of numba's `FunctionType` costs about a microsecond each to unpack).

    The caller's types are those that the function is called with, so that they must be its own: int64, float64 and
    pointers to float64. A number that is not in the register where the function looks for it is another number.
    """
    for kind in map(types.unliteral, arguments):
        if kind not in (types.int64, types.float64, POINTER):
            raise TypingError(
                f"a C function takes int64, float64 and pointers to float64, not {kind}: convert it first"
            )

    def generate(context, builder, signature, args):
        values = cgutils.unpack_tuple(builder, args[1])
        kinds = [context.get_value_type(t) for t in signature.args[1]]
        function = ir.FunctionType(ir.VoidType(), kinds)
        builder.call(builder.inttoptr(args[0], function.as_pointer()), values)
        return context.get_dummy_value()

    return types.void(types.int64, arguments), generate
