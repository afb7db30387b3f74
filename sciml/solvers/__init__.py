"""Initial value problems in torch: methods, steps, dense output and gradients."""

from sciml.solvers.gradients import Backsolve, Checkpointed, Direct
from sciml.solvers.integrate import solve
from sciml.solvers.methods.bosh3 import Bosh3
from sciml.solvers.methods.dopri5 import Dopri5
from sciml.solvers.methods.dopri8 import Dopri8
from sciml.solvers.methods.euler import Euler
from sciml.solvers.methods.heun import Heun
from sciml.solvers.methods.kvaerno3 import Kvaerno3
from sciml.solvers.methods.kvaerno5 import Kvaerno5
from sciml.solvers.methods.leapfrog import Leapfrog
from sciml.solvers.methods.midpoint import Midpoint
from sciml.solvers.methods.protocol import AbstractExplicit, AbstractImplicit, AbstractSolver, AbstractSymplectic
from sciml.solvers.methods.rk4 import RK4
from sciml.solvers.methods.rodas5p import Rodas5P
from sciml.solvers.methods.tableau import Tableau
from sciml.solvers.methods.tsit5 import Tsit5
from sciml.solvers.methods.yoshida4 import Yoshida4
from sciml.solvers.methods.yoshida6 import Yoshida6
from sciml.solvers.solution import Failure, Solution, Stats, Status

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
