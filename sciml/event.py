"""The one declaration of an event, for any torch field and for a System alike."""

from dataclasses import dataclass
from typing import Any

from sciml.errors import ModelError, quoted, suggestion

DIRECTIONS = ("both", "rising", "falling")


@dataclass(frozen=True)
class Event:
    r"""What happens where a condition passes through zero: it is recorded, ends the solve, or resets the state.

    The event is at the time :math:`t^*` with :math:`g(t^*, y(t^*)) = 0` at which :math:`g` changes its sign along the
    solve. A condition that is zero at the start is no event; one that touches zero without a change of sign is none.

    Args:
        condition: :math:`g`. For `solve` a callable `(t, y)` that gives one number per trajectory: shape `(batch,)`,
            or `()` without a batch, as in `lambda t, y: y[..., 0]`. For a `System` a SymPy expression.
        direction: "rising" for a change from negative to positive, "falling" for the opposite, or "both", as seen along
            the solve (backwards in time, too).
        terminal: Whether the trajectory ends there.
        reset: The state after the event. For `solve` a callable `(t, y)` that gives a state like `y`; for a `System` a
            dict `{state: expression}`, in which states left out keep their values.

    Raises:
        ModelError: An unknown direction, or an event that both ends and resets.

    Example:
        >>> Event(lambda t, y: y[..., 0], direction="falling", terminal=True).terminal
        True
    """

    condition: Any
    direction: str = "both"
    terminal: bool = False
    reset: Any = None

    def __post_init__(self) -> None:
        if self.direction not in DIRECTIONS:
            raise ModelError(
                f"`direction={self.direction!r}` of an `Event` is not known. There are {quoted(DIRECTIONS)}."
                f"{suggestion(self.direction, DIRECTIONS)}"
            )
        if self.terminal and self.reset is not None:
            raise ModelError("an `Event` with `terminal=True` ends the trajectory: its `reset` would never be seen.")

    @property
    def stops(self) -> bool:
        """Whether the flow before the event does not go on behind it."""
        return self.terminal or self.reset is not None

    @property
    def consequence(self) -> str:
        r"""What happens to the trajectory without a reset, in LaTeX."""
        return r"\text{end}" if self.terminal else r"\text{event}"

    @property
    def signs(self) -> tuple[int, ...]:
        """Signs of the condition before the event."""
        return {"both": (-1, 1), "rising": (-1,), "falling": (1,)}[self.direction]
