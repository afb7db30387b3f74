"""The smallest adversarial game: one number against one number."""

import sympy as sp

from sciml.symbolic.system import System


def dirac_gan(
    penalty: float = 0.0, initial: tuple[float, float] = (1.0, 0.0), *, objective: sp.Lambda | None = None
) -> System:
    r"""A generator that puts all its mass on θ against a linear discriminator ψ x; the data lie at 0.

    .. math:: \dot\theta = -f'(\psi\theta)\,\psi, \quad \dot\psi = f'(\psi\theta)\,\theta - \gamma\psi

    The generator descends :math:`f(\psi\theta) + f(0)`, the discriminator climbs it. Without penalty the flow circles the
    equilibrium (0, 0) for ever, on :math:`\theta^2 + \psi^2 = const`; the penalty R1, :math:`\gamma |D'|^2/2` on the data,
    makes it a spiral that ends there.

    Args:
        penalty: Weight γ of R1, not negative.
        initial: First θ and ψ.
        objective: f as a `sympy.Lambda`; None takes :math:`f(t) = -\log(1 + e^{-t})`, the usual GAN.

    Returns:
        States `theta`, `psi`; a known parameter `gamma`.

    Example:
        >>> s = sp.Symbol("s", real=True)
        >>> dirac_gan(objective=sp.Lambda(s, s))
        System(theta' = -psi, psi' = -gamma*psi + theta)

    Reference:
        Mescheder, Geiger, Nowozin (2018), arXiv:1801.04406, definition 2.1 and eq. 9.
    """
    theta, psi, gamma, s = sp.symbols("theta psi gamma s", real=True)
    f = objective if objective is not None else sp.Lambda(s, -sp.log(1 + sp.exp(-s)))
    slope = sp.diff(f(s), s).subs(s, psi * theta)
    return System(
        equations={theta: -slope * psi, psi: slope * theta - gamma * psi},
        parameters={gamma: penalty},
        initial=dict(zip((theta, psi), initial, strict=True)),
    )
