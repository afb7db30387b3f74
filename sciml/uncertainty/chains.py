"""Markov chains by the no-U-turn sampler, through nutpie."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from sciml.errors import ModelError, quoted
from sciml.uncertainty.ensemble import Ensemble
from sciml.uncertainty.laplace import Laplace
from sciml.uncertainty.posterior import named_coordinates


@dataclass(frozen=True, eq=False)
class Chains(Ensemble):
    """Draws from the posterior.

    Attributes:
        rhat: Of every parameter and initial value: above 1.01 the chains have not mixed.
        effective: Effective number of draws of each.
        divergences: Steps after which the sampler lost the energy: more than a few mean that intervals are too short.
    """

    rhat: dict[str, float] | None = None
    effective: dict[str, float] | None = None
    divergences: int = 0


class _Unsolvable(RuntimeError):
    """Tells the sampler to step back."""

    is_recoverable = True


def sample(laplace: Laplace, draws: int = 1000, tune: int = 500, chains: int = 4, seed: int = 0) -> Chains:
    """Draw from the posterior by the no-U-turn sampler, in coordinates that the curvature has made round.

    Parameters without a prior are uniform in their free coordinate: uniform without bounds, log-uniform beside one
    bound. Where the data leave a direction open there is no posterior to draw from: state a prior.

    Args:
        laplace: The approximation at the best fit.
        draws, tune: Per chain, kept and for adaptation.
        chains: How many.
        seed: Of all of them.

    Raises:
        ModelError: The System has learned functions, whose posterior no chain explores, or nutpie is missing.

    Reference:
        Hoffman and Gelman (2014), JMLR 15, 1593-1623; nutpie's mass matrix from gradients.
    """
    problem = laplace.problem
    if problem.system.learned:
        raise ModelError(
            f"{quoted(problem.system.functions)} is learned: chains are for laws without networks. Use "
            "`fit.laplace()` or `fit.bootstrap()`."
        )
    for sentence in laplace.undetermined():
        raise ModelError(f"there is no posterior to draw from: {sentence}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            import arviz  # pyright: ignore[reportMissingImports]
            import nutpie  # pyright: ignore[reportMissingImports]
            from nutpie.compiled_pyfunc import from_pyfunc  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ModelError('chains need nutpie: `pip install "sciml-hybrid[chains]"`.') from error
    count, factor, best = len(laplace.vector), laplace.factor, laplace.vector

    def density():
        def evaluate(z, **shared):
            value, gradient = problem.value_and_gradient(best + factor @ z)
            if not np.isfinite(value):
                raise _Unsolvable("the equations could not be solved")
            return -value, factor.T @ -gradient

        return evaluate

    def expand(*seeds):
        return lambda z, **shared: {"z": np.asarray(z, dtype=float)}

    model = from_pyfunc(count, density, expand, [np.dtype("float64")], [(count,)], ["z"])
    # One core: the loss owns the memory that it works in.
    options = {"chains": chains, "seed": seed, "cores": 1, "progress_bar": False, "save_warmup": False}
    trace = nutpie.sample(model, draws=draws, tune=tune, **options)
    z = np.asarray(trace.posterior["z"])
    vectors = best + z @ factor.T
    places = named_coordinates(problem)
    table = {name: vectors[..., i] for name, i in places.items()}
    return Chains(
        problem,
        best,
        vectors.reshape(-1, count),
        rhat={name: float(arviz.rhat(x)) for name, x in table.items()},
        effective={name: float(arviz.ess(x)) for name, x in table.items()},
        divergences=int(np.asarray(trace.sample_stats["diverging"]).sum()),
    )
