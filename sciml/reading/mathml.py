"""MathML as libsbml holds it, turned into SymPy through the whitelist of our own file format."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import sympy as sp

from sciml.errors import DataError
from sciml.symbolic.serialize import Decoder

AVOGADRO = 6.02214179e23  # SBML Level 3 Version 1, section 3.4.6
CIRCULAR = ("SIN", "COS", "TAN", "SEC", "CSC", "COT")
PLAIN = {
    "PLUS": "Add", "TIMES": "Mul", "FUNCTION_ABS": "Abs", "FUNCTION_EXP": "exp", "FUNCTION_LN": "log",
    "FUNCTION_FLOOR": "floor", "FUNCTION_CEILING": "ceiling", "POWER": "Pow", "FUNCTION_POWER": "Pow",
    "FUNCTION_MAX": "Max", "FUNCTION_MIN": "Min", "LOGICAL_AND": "And", "LOGICAL_OR": "Or", "LOGICAL_NOT": "Not",
    **{f"FUNCTION_{name}{h}": f"{name.lower()}{h.lower()}" for name in CIRCULAR for h in ("", "H")},
    **{f"FUNCTION_ARC{name}{h}": f"a{name.lower()}{h.lower()}" for name in ("SIN", "COS", "TAN") for h in ("", "H")},
}  # fmt: skip
RECIPROCAL = {f"FUNCTION_ARC{a}{h}": f"a{b}{h.lower()}" for a, b in (("SEC", "cos"), ("CSC", "sin"), ("COT", "tan"))
              for h in ("", "H")}  # fmt: skip
RELATIONS = {
    "EQ": "Equality",
    "NEQ": "Unequality",
    "LT": "StrictLessThan",
    "LEQ": "LessThan",
    "GT": "StrictGreaterThan",
    "GEQ": "GreaterThan",
}
CONSTANTS = {"CONSTANT_PI": "pi", "CONSTANT_E": "E", "CONSTANT_TRUE": "true", "CONSTANT_FALSE": "false"}
Tree = dict[str, Any]


class Reader:
    """Turns the trees of one model into expressions.

    Args:
        libsbml: The library.
        symbols: Identifier -> symbol or expression.
        functions: Identifier -> libsbml's definition of a function.
    """

    def __init__(self, libsbml: Any, symbols: Callable[[str], Tree], functions: Mapping[str, Any]):
        self.symbols, self.functions = symbols, functions
        constants = {name: value for name, value in vars(libsbml).items() if name.startswith("AST_")}
        self.kinds = {value: name[4:] for name, value in constants.items() if isinstance(value, int)}
        # Aliases of one number: the names that are handled here win.
        for name in (*PLAIN, *RECIPROCAL, *(f"RELATIONAL_{r}" for r in RELATIONS), *CONSTANTS, "NAME", "NAME_TIME"):
            if hasattr(libsbml, f"AST_{name}"):
                self.kinds[getattr(libsbml, f"AST_{name}")] = name
        self.decoder = Decoder()

    def expression(self, node: Any, where: str) -> sp.Expr:
        """The expression of a tree.

        Raises:
            DataError: An operator that is not known, or numbers that only serve to harm; the message says where.
        """
        try:
            return self.decoder.decode(self._tree(node, {}, 0))
        except DataError as error:
            raise DataError(f"{where}: {error}") from error

    def _tree(self, node: Any, local: Mapping[str, Tree], depth: int) -> Tree:
        if node is None:
            raise DataError("there is no formula.")
        if depth > 100:
            raise DataError("a formula calls functions or nests deeper than 100 levels.")
        kind = self.kinds.get(node.getType(), "UNKNOWN")
        arguments = [node.getChild(i) for i in range(node.getNumChildren())]

        def children(chosen=arguments) -> list[Tree]:
            return [self._tree(child, local, depth + 1) for child in chosen]

        match kind:
            case "INTEGER":
                return _integer(node.getInteger())
            case "REAL" | "REAL_E":
                return _number(node.getReal())
            case "RATIONAL":
                return {"rational": [str(node.getNumerator()), str(node.getDenominator())]}
            case "NAME":
                name = node.getName()
                return local[name] if name in local else self.symbols(name)
            case "NAME_TIME":
                return {"symbol": "t", "assumptions": ["real"]}
            case "NAME_AVOGADRO":
                return _number(AVOGADRO)
            case "FUNCTION":
                return self._call(node.getName(), children(), depth)
            case "MINUS":
                first, *rest = children()
                return _node("Add", first, _minus(rest[0])) if rest else _minus(first)
            case "DIVIDE":
                above, below = children()
                return _node("Mul", above, _node("Pow", below, _integer(-1)))
            case "FUNCTION_ROOT":
                *degree, radicand = children()
                return _node("Pow", radicand, _node("Pow", degree[0] if degree else _integer(2), _integer(-1)))
            case "FUNCTION_LOG":
                *base, argument = children()
                logarithm = _node("Pow", _node("log", base[0] if base else _integer(10)), _integer(-1))
                return _node("Mul", _node("log", argument), logarithm)
            case "FUNCTION_PIECEWISE":
                pairs = list(zip(children(arguments[::2]), children(arguments[1::2])))
                if len(arguments) % 2:
                    pairs.append((self._tree(arguments[-1], local, depth + 1), {"constant": "true"}))
                return _node("Piecewise", *(_node("ExprCondPair", value, condition) for value, condition in pairs))
            case "FUNCTION_REM":
                a, b = children()
                return _node("Mod", a, b)
            case "LOGICAL_XOR":
                a, b = children()
                return _node("Or", _node("And", a, _node("Not", b)), _node("And", b, _node("Not", a)))
            case _ if kind in PLAIN:
                return _node(PLAIN[kind], *children()) if arguments else _integer(0 if kind == "PLUS" else 1)
            case _ if kind in RECIPROCAL:
                return _node(RECIPROCAL[kind], _node("Pow", *children(), _integer(-1)))
            case _ if kind in CONSTANTS:
                return {"constant": CONSTANTS[kind]}
            case _ if kind.removeprefix("RELATIONAL_") in RELATIONS:
                name, sides = RELATIONS[kind.removeprefix("RELATIONAL_")], children()
                pairs = [_node(name, a, b) for a, b in pairwise(sides)]
                return pairs[0] if len(pairs) == 1 else _node("And", *pairs)
        raise DataError(f"`{(node.getName() or kind).lower()}` is not read here (MathML node {kind}).")

    def _call(self, name: str, arguments: list[Tree], depth: int) -> Tree:
        definition = self.functions.get(name)
        if definition is None or definition.getNumArguments() != len(arguments):
            raise DataError(f"the function `{name}` is not defined for {len(arguments)} arguments.")
        formals = [definition.getArgument(i).getName() for i in range(len(arguments))]
        return self._tree(definition.getBody(), dict(zip(formals, arguments)), depth + 1)


def _node(name: str, *arguments: Tree) -> Tree:
    return {"node": name, "arguments": list(arguments)}


def _minus(tree: Tree) -> Tree:
    return _node("Mul", _integer(-1), tree)


def _integer(value: int) -> Tree:
    return {"integer": str(value)}


def _number(value: float) -> Tree:
    """A whole float as an integer: `x^2.0` is a square."""
    return _integer(int(value)) if value.is_integer() and abs(value) < 2**53 else {"float": repr(value)}
