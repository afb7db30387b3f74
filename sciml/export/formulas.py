"""Formulas of a Program as text of another language: one printer, of which languages state what differs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import sympy as sp
from sympy.printing.codeprinter import CodePrinter
from sympy.printing.precedence import PRECEDENCE, precedence

from sciml.errors import ModelError

# What nearly every language calls by the same name. SymPy's class -> name.
COMMON = {
    **{name: name for name in ("sin", "cos", "tan", "asin", "acos", "atan", "atan2", "sinh", "cosh", "tanh", "exp", "log")},
    **{"Abs": "abs", "floor": "floor", "Floor": "floor", "ceiling": "ceil", "Ceiling": "ceil"},
    **{"sign": "sign", "Sign": "sign", "sqrt": "sqrt", "Mod": "mod"},
}  # fmt: skip
INVERSE_HYPERBOLIC = {name: name for name in ("asinh", "acosh", "atanh")}


class FormulaPrinter(CodePrinter):
    """Prints the nodes that Programs hold, and refuses all others by name.

    Args:
        symbols: Slot or array -> text.

    A language sets the attributes and overrides the methods in which it differs.
    """

    language: ClassVar[str] = ""
    functions: ClassVar[Mapping[str, str]] = COMMON
    maximum: ClassVar[str] = "max"
    minimum: ClassVar[str] = "min"
    nan: ClassVar[str] = "nan"
    relations: ClassVar[Mapping[str, str]] = {}
    conjunction: ClassVar[tuple[str, str, str]] = ("&&", "||", "!")

    def __init__(self, symbols: Mapping[sp.Symbol, str] | None = None):
        super().__init__({"order": "none"})
        self.symbols = dict(symbols or {})
        self.originals: dict[sp.Symbol, sp.Symbol] = {}

    def text(self, expression: sp.Expr) -> str:
        """The formula.

        Raises:
            ModelError: A function that the language lacks.
        """
        return self._print(sp.sympify(expression))

    def named(self, expression: sp.Basic) -> sp.Basic:
        """The expression in the user's own symbols, for messages."""
        return expression.xreplace(self.originals)

    def conditional(self, condition: str, value: str, otherwise: str) -> str:
        """One value or the other."""
        return f"({condition} ? {value} : {otherwise})"

    def power(self, base: sp.Expr, exponent: sp.Expr) -> str:
        """A power that is neither a square root nor a reciprocal."""
        return f"{self._tight(base)}^{self._tight(exponent)}"

    def number(self, value: float) -> str:
        """A float to the last digit."""
        return repr(value)

    def call(self, name: str, *arguments: str) -> str:
        """A function call."""
        return f"{name}({', '.join(arguments)})"

    def _tight(self, expression: sp.Expr) -> str:
        return self.parenthesize(expression, PRECEDENCE["Pow"], strict=False)

    def parenthesize(self, item, level, strict=False):
        # A number that Python writes with an exponent or a sign is no atom in a power.
        if item.is_number and not item.args:
            return f"({self._print(item)})" if item < 0 else self._print(item)
        text = self._print(item)
        tight = precedence(item) < level or (not strict and precedence(item) <= level)
        return f"({text})" if tight and not item.is_Function and not self._closed(text) else text

    @staticmethod
    def _closed(text: str) -> bool:
        """Whether one pair of parentheses holds all of it."""
        depth = 0
        for i, character in enumerate(text):
            depth += {"(": 1, ")": -1}.get(character, 0)
            if depth == 0:
                return i == len(text) - 1 and character == ")"
        return False

    def _print_Symbol(self, expr):
        return self.symbols.get(expr, expr.name)

    def _print_Float(self, expr):
        return self.number(float(expr))

    def _print_Integer(self, expr):
        return str(int(expr))

    def _print_Rational(self, expr):
        return self.number(float(expr))

    _print_NumberSymbol = _print_Rational

    def _print_Pow(self, expr, rational=False):
        base, exponent = expr.base, expr.exp
        if exponent == sp.Rational(1, 2) and "sqrt" in self.functions:
            return self.call(self.functions["sqrt"], self._print(base))
        if exponent.is_number and exponent.is_negative and exponent.is_Rational:
            return f"{self.number(1.0)}/{self._tight(sp.Pow(base, -exponent, evaluate=False))}"
        if exponent == 1:
            return self._print(base)
        return self.power(base, exponent)

    def _print_Function(self, expr):
        name = expr.func.__name__
        if name not in self.functions:
            known = ", ".join(sorted(name for name in self.functions if name[0].islower() or name in ("Abs", "Mod")))
            raise ModelError(
                f"`{self.named(expr)}` cannot be written in {self.language}, which has no `{name}`. It has {known}."
            )
        return self.call(self.functions[name], *map(self._print, expr.args))

    _print_exp = _print_log = _print_Abs = _print_floor = _print_ceiling = _print_sign = _print_Mod = _print_Function

    def _print_Exp1(self, expr):
        return self.number(float(expr))

    def _print_Max(self, expr):
        return self._folded(self.maximum, expr.args)

    def _print_Min(self, expr):
        return self._folded(self.minimum, expr.args)

    def _folded(self, name: str, arguments) -> str:
        first, *rest = sorted(arguments, key=lambda a: (a.is_number, str(a)))
        text = self._print(first)
        for argument in rest:
            text = self.call(name, text, self._print(argument))
        return text

    def _print_Heaviside(self, expr):
        x = expr.args[0]
        at_zero = expr.args[1] if len(expr.args) > 1 else sp.Rational(1, 2)
        return self._print(sp.Piecewise((1, x > 0), (0, x < 0), (at_zero, True)))

    def _print_Piecewise(self, expr):  # pyright: ignore[reportIncompatibleMethodOverride]
        text = self.nan
        for value, condition in reversed(expr.args):
            printed = self._print(value)
            text = printed if condition == sp.true else self.conditional(self._print(condition), printed, text)
        return text

    def _print_Relational(self, expr):
        sign = self.relations.get(expr.rel_op, expr.rel_op)
        return f"({self._print(expr.lhs)} {sign} {self._print(expr.rhs)})"

    def _print_And(self, expr):
        return "(" + f" {self.conjunction[0]} ".join(map(self._print, expr.args)) + ")"

    def _print_Or(self, expr):
        return "(" + f" {self.conjunction[1]} ".join(map(self._print, expr.args)) + ")"

    def _print_Not(self, expr):
        return f"({self.conjunction[2]} {self._print(expr.args[0])})"

    def _refused(self, expr):
        raise ModelError(
            f"`{self.named(expr)}` cannot be written in {self.language}: `{type(expr).__name__}` is not known there."
        )

    _print_not_supported = emptyPrinter = _refused
