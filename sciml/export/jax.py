"""Systems as source for jax: pure functions that jit, vmap and grad take."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from sciml.export.protocol import finish
from sciml.export.python import ArrayPrinter, array_functions
from sciml.export.routines import routines
from sciml.symbolic.system import System


class _Printer(ArrayPrinter):
    language, module = "jax", "jnp"
    reserved = ArrayPrinter.reserved | {"jax", "jnp"}
    functions: ClassVar = array_functions("jnp") | {
        "erf": "jax.scipy.special.erf",
        "erfc": "jax.scipy.special.erfc",
        "loggamma": "jax.scipy.special.gammaln",
    }
    maximum, minimum = "jnp.maximum", "jnp.minimum"


def jax(system: System, path: str | Path | None = None) -> str:
    """A System as a Python module of pure functions for jax, `rhs(t, state, parameters)` first of all.

    The functions go through `jax.jit`, `jax.grad` and `jax.vmap`, and fit diffrax as `ODETerm(lambda t, y, p: rhs(t, y,
    p))`; with inputs it is `rhs(t, state, inputs, parameters)`. The module turns float64 on for all of jax when it is
    imported. Derivatives of learned functions are written out, so that no nested differentiation is needed.

    Args:
        system: Learned functions are written out with their weights.
        path: Where to write it, too.

    Returns:
        The source, with the names of `sciml.export.python`; `events` and `reset_0`, ... in place of SciPy's tables.

    Raises:
        ModelError: A function that jax lacks, or a network without weights or of another kind than `MLP`.

    Example:
        >>> import sympy as sp
        >>> from sciml import System
        >>> x, k = sp.symbols("x k", real=True)
        >>> print(jax(System({x: -k * sp.sin(x)}, parameters={k: 0.5})).splitlines()[-1].strip())
        return jnp.array([-k*jnp.sin(x)], dtype=float)
    """
    printer = _Printer(routines(system, jacobian=False))
    imports = ["import jax", "import jax.numpy as jnp", "", 'jax.config.update("jax_enable_x64", True)']
    return finish("\n".join(printer.module_lines(imports)) + "\n", path)
