"""Games: several players, each descending a loss of its own that depends on all of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy as sp
import torch
from torch import Tensor

from sciml.dynamics.evolution import Map
from sciml.dynamics.losses import Gradient, Loss, as_field, as_map, as_system, gradient_of
from sciml.errors import ModelError
from sciml.symbolic.declarations import Parameter
from sciml.symbolic.system import System


@dataclass(frozen=True)
class Game:
    r"""Players with a loss each: the field :math:`v = (-\nabla_1 f_1, -\nabla_2 f_2, \dots)` and the ways to follow it.

    A single loss has a symmetric Jacobian, so that its descent never turns in circles; the Jacobian of a game's field need
    not be symmetric (`is_gradient_field`), and where it has imaginary eigenvalues the players chase each other.

    Args:
        losses: One for each player: expressions, or torch functions of the vector of all players' weights, one after the
            other (`losses[0](torch.cat([generator, discriminator]))`).
        players: What each of them moves: sequences of symbols, or numbers of weights.
        parameters: What else occurs in expressions.
        initial: Where symbols start.

    Raises:
        ModelError: Losses and players differ in number, players share a symbol, or a player does not occur in its loss.

    Example:
        >>> x, y = sp.symbols("x y", real=True)
        >>> game = Game([x * y, -x * y], [[x], [y]])
        >>> game.flow()
        System(x' = -y, y' = x)
        >>> game.alternating(0.1)
        System(x -> x - 0.1*y, y -> 0.1*x + 0.99*y)

    Reference:
        Mescheder, Nowozin, Geiger (2017), arXiv:1705.10461, eq. 3.
    """

    losses: Sequence[Loss]
    players: Sequence[Sequence[sp.Symbol] | int]
    parameters: Mapping[sp.Symbol, Parameter | float] | None = None
    initial: Mapping[sp.Symbol, Any] | None = None

    def __post_init__(self):
        if len(self.losses) != len(self.players) or len(self.losses) < 2:
            raise ModelError(
                f"there are {len(self.losses)} losses and {len(self.players)} players: a game has a loss for each player, "
                "and two of them at least."
            )
        kinds = {isinstance(loss, sp.Expr) for loss in self.losses}
        if len(kinds) > 1:
            raise ModelError("some losses are SymPy expressions and some are functions: give all of one kind.")
        if self._symbolic:
            symbols = [x for player in self.players for x in self._listed(player)]
            twice = {x for x in symbols if symbols.count(x) > 1}
            if twice:
                raise ModelError(f"`{min(map(str, twice))}` is moved by two players: each symbol belongs to one.")
        elif not all(isinstance(size, int) and size > 0 for size in self.players):
            raise ModelError(
                f"`players={list(self.players)}` of torch losses are numbers of weights, such as `[12, 9]`."
            )
        everything = self._symbols() if self._symbolic else None
        partial = [gradient_of(loss, part, everything) for loss, part in zip(self.losses, self._parts())]
        object.__setattr__(self, "_partial", partial)

    def flow(self) -> System | Callable[[Any, Tensor], Tensor]:
        """All players descend at once, by steps that go to zero: a System, or a field `(t, y)`."""
        return self._built(lambda _, y: [-self._slope(y)], discrete=False)

    def simultaneous(self, rate: float) -> System | Map:
        """All players step at once: Euler's method for the flow. It spirals out where the flow turns in circles."""
        return self._built(lambda _, y: [y - self._checked(rate) * self._slope(y)], discrete=True)

    def alternating(self, rate: float) -> System | Map:
        """Players step in turn, each from where the ones before it have gone."""
        self._checked(rate)

        def turns(_: Any, y: Any) -> list[Any]:
            for player in range(len(self.losses)):
                y = y - rate * self._moves(y, player)
            return [y]

        return self._built(turns, discrete=True)

    def extragradient(self, rate: float) -> System | Map:
        """All players step by the gradient that waits for them after a trial step.

        Reference:
            Korpelevich (1976), Matecon 12, 747-756.
        """
        self._checked(rate)
        return self._built(lambda _, y: [y - rate * self._slope(y - rate * self._slope(y))], discrete=True)

    def consensus(self, weight: float) -> Game:
        r"""The game in which each player also lowers :math:`\frac{w}{2} |v|^2`, the speed of all: circles become spirals in.

        Args:
            weight: w, positive.

        Reference:
            Mescheder, Nowozin, Geiger (2017), arXiv:1705.10461, algorithm 1.
        """
        self._checked(weight)
        if self._symbolic:
            speed = sum(s**2 for s in self._slope(np.array(self._symbols(), dtype=object)))
            losses = [loss + sp.Rational(1, 2) * weight * speed for loss in self.losses]
        else:

            def with_speed(loss: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
                return lambda y: loss(y) + weight / 2 * (self._slope(y[None]) ** 2).sum()

            losses = [with_speed(loss) for loss in self.losses]
        return Game(losses, self.players, self.parameters, self.initial)

    @property
    def _symbolic(self) -> bool:
        return isinstance(self.losses[0], sp.Expr)

    def _listed(self, player: Any) -> Sequence[sp.Symbol]:
        if not isinstance(player, Sequence) or not all(isinstance(x, sp.Symbol) for x in player):
            raise ModelError(f"the player `{player}` of a loss in SymPy must be a sequence of symbols, such as `[x]`.")
        return player

    def _symbols(self) -> list[sp.Symbol]:
        return [x for player in self.players for x in self._listed(player)]

    def _parts(self) -> Sequence[Any]:
        if self._symbolic:
            return self.players
        ends = np.cumsum(self.players)
        return [slice(int(end - size), int(end)) for end, size in zip(ends, self.players)]

    def _slope(self, y: Any) -> Any:
        """Each player's gradient of its own loss, one after the other."""
        self._check_size(y)
        partial: Sequence[Gradient] = self._partial
        rows = [gradient(y) for gradient in partial]
        return np.concatenate(rows) if self._symbolic else torch.cat(rows, dim=-1)

    def _moves(self, y: Any, player: int) -> Any:
        """The gradient of one player, zero for all others."""
        self._check_size(y)
        found, zero = self._partial[player](y), y * 0
        begin = sum(len(p) if self._symbolic else p for p in self.players[:player])
        if self._symbolic:
            zero[begin : begin + len(found)] = found
            return zero
        return torch.cat([zero[..., :begin], found, zero[..., begin + found.shape[-1] :]], dim=-1)

    def _check_size(self, y: Any) -> None:
        if not self._symbolic and y.shape[-1] != sum(self.players):
            raise ModelError(
                f"states have {y.shape[-1]} entries, the players {list(self.players)} together {sum(self.players)}: a state "
                "is the vector of all players' weights, one player after the other."
            )

    def _built(self, following: Callable[..., Sequence[Any]], discrete: bool) -> Any:
        if self._symbolic:
            return as_system({"": []}, self._symbols(), following, self.initial, self.parameters, discrete)
        return (as_map if discrete else as_field)(1, following)

    @staticmethod
    def _checked(size: float) -> float:
        if not (math.isfinite(size) and size > 0):
            raise ModelError(f"a step or weight of {size} was given; it must be positive.")
        return size
