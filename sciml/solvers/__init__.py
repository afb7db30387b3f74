"""Initial value problems in torch: methods, steps, dense output and gradients."""

from sciml.solvers.dopri5 import Dopri5
from sciml.solvers.dopri8 import Dopri8
from sciml.solvers.euler import Euler
from sciml.solvers.gradients import Backsolve, Direct
from sciml.solvers.heun import Heun
from sciml.solvers.integrate import solve
from sciml.solvers.kvaerno5 import Kvaerno5
from sciml.solvers.protocol import AbstractExplicit, AbstractSolver
from sciml.solvers.rk4 import RK4
from sciml.solvers.rodas5p import Rodas5P
from sciml.solvers.solution import Failure, Solution, Stats, Status
from sciml.solvers.tableaus import Tableau
from sciml.solvers.tsit5 import Tsit5

__all__ = [
    "RK4",
    "AbstractExplicit",
    "AbstractSolver",
    "Backsolve",
    "Direct",
    "Dopri5",
    "Dopri8",
    "Euler",
    "Failure",
    "Heun",
    "Kvaerno5",
    "Rodas5P",
    "Solution",
    "Stats",
    "Status",
    "Tableau",
    "Tsit5",
    "solve",
]
