"""Initial value problems in torch: methods, steps, dense output and gradients."""

from sciml.solvers.bosh3 import Bosh3
from sciml.solvers.dopri5 import Dopri5
from sciml.solvers.dopri8 import Dopri8
from sciml.solvers.euler import Euler
from sciml.solvers.gradients import Backsolve, Checkpointed, Direct
from sciml.solvers.heun import Heun
from sciml.solvers.integrate import solve
from sciml.solvers.kvaerno3 import Kvaerno3
from sciml.solvers.kvaerno5 import Kvaerno5
from sciml.solvers.leapfrog import Leapfrog
from sciml.solvers.midpoint import Midpoint
from sciml.solvers.protocol import AbstractExplicit, AbstractImplicit, AbstractSolver, AbstractSymplectic
from sciml.solvers.rk4 import RK4
from sciml.solvers.rodas5p import Rodas5P
from sciml.solvers.solution import Failure, Solution, Stats, Status
from sciml.solvers.tableaus import Tableau
from sciml.solvers.tsit5 import Tsit5
from sciml.solvers.yoshida4 import Yoshida4
from sciml.solvers.yoshida6 import Yoshida6

__all__ = [
    "RK4",
    "AbstractExplicit",
    "AbstractImplicit",
    "AbstractSolver",
    "AbstractSymplectic",
    "Backsolve",
    "Bosh3",
    "Checkpointed",
    "Direct",
    "Dopri5",
    "Dopri8",
    "Euler",
    "Failure",
    "Heun",
    "Kvaerno3",
    "Kvaerno5",
    "Leapfrog",
    "Midpoint",
    "Rodas5P",
    "Solution",
    "Stats",
    "Status",
    "Tableau",
    "Tsit5",
    "Yoshida4",
    "Yoshida6",
    "solve",
]
