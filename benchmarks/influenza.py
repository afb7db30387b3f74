"""Influenza in a boarding school: how well SIR fits, and whether a learned force of infection forecasts better.

SIR with a free number of first cases is fitted to 14 days of pupils in bed. Then both SIR and a hybrid, whose force of
infection per susceptible pupil is learned from the number of the infected, are trained on the first two thirds and
judged on the last third.
"""

import numpy as np
import sympy as sp

import sciml
from sciml import LBFGS, MLP, Adam, LevenbergMarquardt, LogNormal, Normal, Parameter, Problem, System
from sciml.datasets.influenza import PUPILS
from sciml.scripts import machine, options, report

susceptible, infected, beta, gamma, first = sp.symbols("susceptible infected beta gamma first", real=True)
force = sp.Function("force")


def sir(hybrid: bool) -> System:
    """Susceptible and infected pupils; of the hybrid, the force of infection is an unknown function."""
    rate = force(infected) if hybrid else beta * infected / PUPILS
    parameters = {
        gamma: Parameter(0.5, bounds=(0, None), prior=LogNormal(0.5) if hybrid else None),
        first: Parameter(1.0, bounds=(0, 20)),
    } | ({} if hybrid else {beta: Parameter(1.5, bounds=(0, None))})
    return System(
        equations={susceptible: -rate * susceptible, infected: rate * susceptible - gamma * infected},
        parameters=parameters,
        initial={susceptible: PUPILS - first, infected: first},
        # Nobody infected, nobody catches it: the factor keeps the force zero there.
        learned={force: MLP(hidden=(8,), factors=(infected,), input_scale=(300.0,), output_scale=(1 / PUPILS,))}
        if hybrid
        else {},
    )


def main() -> None:
    arguments = options(__doc__).parse_args()
    data = sciml.datasets.influenza()
    problem = Problem(sir(hybrid=False), data, noise={infected: Normal()})
    whole = sciml.fit(problem, optimizers=[LBFGS(), LevenbergMarquardt()], seed=arguments.seed, progress=False)
    rows = [{"model": "SIR", "days": "0-13", "RMSE": whole.rmse, "target": "16.01 ± 0.1"}]
    cut = 8
    level = Normal(16.0)  # about what SIR leaves; a free level beside a network would shrink to nothing
    for name, hybrid in (("SIR", False), ("hybrid", True)):
        early = Problem(sir(hybrid), data.loc[:cut], noise={infected: level})
        stages = [Adam(100 if arguments.quick else 1000), LBFGS()] if hybrid else [LBFGS(), LevenbergMarquardt()]
        fit = sciml.fit(early, optimizers=stages, seed=arguments.seed, progress=False)
        path = fit.simulate(data.index.to_numpy(float))["infected"]
        error = data["infected"].to_numpy() - path
        rows.append({"model": name, "days": f"0-{cut}", "RMSE": fit.rmse, "target": ""})
        rows.append(
            {
                "model": name,
                "days": f"{cut + 1}-13, forecast",
                "RMSE": float(np.sqrt(np.mean(error[cut + 1 :] ** 2))),
                "target": "" if not hybrid else "below SIR",
            }
        )
    report(rows, arguments, machine("numpy", "scipy"))
    better = rows[-1]["RMSE"] < rows[2]["RMSE"]
    print(f"A learned force of infection forecasts the last third {'better' if better else 'no better'} than SIR.")


if __name__ == "__main__":
    main()
