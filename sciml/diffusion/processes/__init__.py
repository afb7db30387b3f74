"""Forward processes: stochastic differential equations that turn data into noise."""

from sciml.diffusion.processes.edm import EDM
from sciml.diffusion.processes.protocol import AbstractProcess, Formulas
from sciml.diffusion.processes.sub_vp import SubVP
from sciml.diffusion.processes.ve import VE
from sciml.diffusion.processes.vp import VP

__all__ = ["EDM", "VE", "VP", "AbstractProcess", "Formulas", "SubVP"]
