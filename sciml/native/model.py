r"""What generated code must provide: C functions for a model's equations, and where to find them.

All arrays are float64 and contiguous and arrive as plain pointers; sizes are literals of the generated code. `p` holds
the scalar parameters, then the weights of all networks, then scratch that `prepare` fills; `u` a constant of the
trajectory, then the present piece of its input signals (where it begins, and four coefficients for each). A *routine* is
a triple that serves as right-hand side, as observables or as initial state:

    value(t, y, p, u, tape, out)         out = f(t, y, p, u); the tape row keeps what `vjp` needs
    vjp(t, y, p, u, tape, g, gy, gp)     gy = (df/dy)^T g; adds (df/dp)^T g of the scalars to gp; finishes the tape row
    weights(tapes, rows, gp)             adds the weight gradient of that many consecutive tape rows to gp

Events have three more: `conditions`, their `rates` of change along the flow, and the states behind all `resets`.
Beside them stand `jacobian_value(t, y, p, u, tape, J)` with J[i, j] = df_i/dy_j for stiff methods, which needs no
reverse pass, and `prepare(p)`. A generated source starts with `preambles.PREAMBLE`, which names the
decorators (`routines`) and elementary functions, and prefixes its functions by role:

    @value
    def field_value(t, y, p, u, tape, out):
        out[0] = -p[0] * y[0]

    @vjp
    def field_vjp(t, y, p, u, tape, g, gy, gp):
        gy[0] = -p[0] * g[0]
        gp[0] -= y[0] * g[0]
"""

from dataclasses import dataclass, field
from functools import cache, cached_property
from types import ModuleType

from sciml.native.compilation import load_source
from sciml.native.routines import ROLES


@dataclass(frozen=True)
class Packed:
    """Code of a right-hand side for packs, which is compiled where many trajectories are asked for.

    Its functions are `value_packs(times, y, q, p, u, tape, out)`, `vjp_packs(times, y, q, p, u, tape, cotangents, g, gy,
    gq)` and, where there are networks, `weights_packs(tapes, cotangents, rows, gp)`. All arrays are of packs but p and gp,
    in which the weights are; q holds the scalar parameters.

    Args:
        value: Generated source of the first, from `preambles.PACK_PREAMBLE` on.
        reverse: Generated source of the others; empty without a reverse pass.
        tape: Length of a tape row, in packs.
        cotangents: Length of a row of the cotangents that `weights_packs` reads, in packs.
        scalars: Number of scalar parameters.
    """

    value: str
    reverse: str
    tape: int
    cotangents: int
    scalars: int

    @cache  # noqa: B019 (the code stays loaded, anyway)
    def fields(self, reverse: bool) -> dict[str, int]:
        """What a kernel needs to know: fields of `task.TASK`. The code is compiled now, unless it is known.

        Args:
            reverse: Whether the reverse pass is wanted, too.
        """
        parts = {"pack_tape": self.tape, "pack_cotangents": self.cotangents, "scalars": self.scalars}
        modules = [load_source(source) for source in [self.value, *([self.reverse] if reverse else [])]]
        for name in ("value", "vjp", "weights"):
            found = [getattr(module, f"{name}_packs") for module in modules if hasattr(module, f"{name}_packs")]
            parts[f"pack_{name}"] = found[0].address if found else 0
        return parts


@dataclass(frozen=True)
class Model:
    """Compiled equations and the sizes of their arrays; only the source and the sizes are pickled.

    Args:
        source: Generated source, from `preambles.PREAMBLE` on.
        states: Number of states.
        parameters: Length of a gradient `gp`: scalar parameters and weights.
        storage: Length of `p`: parameters and scratch.
        free: Number of free initial values of one trajectory.
        outputs: Length of what each routine computes, by role. A role that is missing is the identity on the states.
        tapes: Length of a tape row, by role; 0 where nothing is kept.
        packed: The right-hand side for eight trajectories at once, if it has such code.
        events: Of each event the sign of its condition behind it (0: either), and what it does (`watch.RECORD`, ...).
    """

    source: str
    states: int
    parameters: int
    storage: int
    free: int
    outputs: dict[str, int] = field(default_factory=dict)
    tapes: dict[str, int] = field(default_factory=dict)
    packed: Packed | None = None
    events: tuple[tuple[int, int], ...] = ()

    @cached_property
    def module(self) -> ModuleType:
        """The loaded source; holding it keeps the machine code alive."""
        return load_source(self.source)

    def __getstate__(self) -> dict:
        return {name: value for name, value in self.__dict__.items() if name != "module"}

    def address(self, name: str) -> int:
        """Address of a C function of the module; 0 if it has none of that name."""
        function = getattr(self.module, name, None)
        return getattr(function, "address", 0)

    def addresses(self) -> dict[str, int]:
        """What a kernel needs to know of the model: fields of `task.TASK`."""
        fields = {name: getattr(self, name) for name in ("states", "parameters", "storage", "free")}
        for role in ROLES:
            fields |= {f"{role}_{part}": self.address(f"{role}_{part}") for part in ("value", "vjp", "weights")}
            fields[f"{role}_tape"] = self.tapes.get(role, 0)
            fields[f"{role}_outputs"] = self.outputs.get(role, self.states)
        return fields | {"prepare": self.address("prepare")}
