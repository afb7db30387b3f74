"""Lynx and hare: a hybrid model fitted to the fur records of 1900-1920, and the law that was hidden in it.

Hares are born and eaten; lynx are born from eaten hares and die. The two interaction terms are left unknown and
learned by one small network. Closed forms for them are then discovered, refitted through the solver and printed
beside the rivals. Last, all models forecast 1914-1920 from 1900-1913: the simple law wins.
"""

import numpy as np
import pandas as pd
import sympy as sp

import sciml
from sciml import LBFGS, MLP, Adam, LogNormal, Parameter, Problem, SparseRegression, System
from sciml.scripts import options, report

CYCLE = 11  # years, see `repeated_cycle`

hare, lynx, birth, death, sigma = sp.symbols("hare lynx birth death sigma", real=True)
eaten, born = sp.symbols("eaten born", cls=sp.Function)
NOISE = {hare: LogNormal(sigma), lynx: LogNormal(sigma)}


def hybrid_model() -> System:
    """Known: births of hares, deaths of lynx. Unknown: how many hares are eaten, how many lynx are born."""
    rate = LogNormal(
        1.0
    )  # a rate is known within a factor of e or so: beside free networks the data alone do not fix it
    return System(
        equations={hare: birth * hare - eaten(hare, lynx), lynx: born(hare, lynx) - death * lynx},
        parameters={
            birth: Parameter(0.5, bounds=(0, None), prior=rate),
            death: Parameter(0.8, bounds=(0, None), prior=rate),
            # Free beside a free network, the noise level would shrink until the network explains the noise as well.
            sigma: Parameter(0.2, bounds=(0, None), prior=LogNormal(0.1)),
        },
        learned={(eaten, born): MLP(hidden=(8,), factors=(hare, lynx))},
    )


def log_rmse(measured: pd.DataFrame, modeled: pd.DataFrame) -> float:
    """Root mean square difference of the logarithms."""
    return float(np.sqrt(np.mean((np.log(measured) - np.log(modeled)).to_numpy() ** 2)))


def repeated_cycle(pelts: pd.DataFrame, train_until: int) -> pd.DataFrame:
    """The forecast of somebody who only knows that it repeats: the values of 11 years before."""
    later = pelts.index[pelts.index > train_until]
    return pd.DataFrame(pelts.loc[later - CYCLE].to_numpy(), index=later, columns=pelts.columns)


def forecast(fit: sciml.Fit, pelts: pd.DataFrame, train_until: int) -> float:
    """Log-RMSE on the years after those that were fitted."""
    later = pelts.index[pelts.index > train_until]
    return log_rmse(pelts.loc[later], fit.simulate(pelts.index.to_numpy(float)).to_frame().loc[later, pelts.columns])


def main() -> None:
    parser = options(__doc__)
    arguments = parser.parse_args()
    stages = [Adam(steps=100), LBFGS(steps=100)] if arguments.quick else None
    # What hares lose, lynx gain: a term that stands in both functions is one discovery, not two.
    method = SparseRegression(degree=2 if arguments.quick else 3, terms=1 if arguments.quick else 3, shared=True)
    pelts = sciml.datasets.hudson_bay()

    print("1. Fit the hybrid model to 21 years of pelts")
    problem = Problem(hybrid_model(), pelts, noise=NOISE)
    hybrid = sciml.fit(problem, optimizers=stages, seed=arguments.seed)
    print(f"   {hybrid}\n   log-RMSE {hybrid.rmse:.3f} in {hybrid.seconds:.1f} s, {hybrid.evaluations} evaluations\n")

    print("2. Discover closed forms of both functions")
    law = sciml.discover(hybrid, method)
    print(f"{law.report}\n")

    print("3. Refit the law")
    refit = sciml.fit(problem.with_system(law))
    print(f"   {refit.system}\n   {refit}\n{sciml.export.latex(refit.system)}\n")

    print("4. Forecast 1914-1920 from 1900-1913")
    until = 1913
    early = Problem(hybrid_model(), pelts.loc[:until], noise=NOISE)
    early_hybrid = sciml.fit(early, optimizers=stages, seed=arguments.seed)
    early_law = sciml.fit(early.with_system(law))
    cycle = repeated_cycle(pelts, until)
    whole_cycle = repeated_cycle(pelts, pelts.index[CYCLE - 1])
    rows = [
        {"model": "hybrid", "fit": hybrid.rmse, "forecast": forecast(early_hybrid, pelts, until)},
        {"model": "discovered law", "fit": refit.rmse, "forecast": forecast(early_law, pelts, until)},
        {
            "model": f"same as {CYCLE} years ago",
            "fit": log_rmse(pelts.loc[whole_cycle.index], whole_cycle),
            "forecast": log_rmse(pelts.loc[cycle.index], cycle),
        },
    ]
    report(rows, arguments, "   log-RMSE:")
    best = min(rows, key=lambda row: row["forecast"])
    print(f"   Best forecast: {best['model']}. A good fit is not yet a law; that is what discovery is for.")

    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        sciml.plot.discovery(hybrid, refit, path=arguments.out / "lynx_hare.png")
        print(f"   Figure: {arguments.out / 'lynx_hare.png'}")


if __name__ == "__main__":
    main()
