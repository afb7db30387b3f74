"""Systems as SBML Level 3, the exchange format of systems biology, through libsbml."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import sympy as sp

from sciml.errors import ModelError
from sciml.export.names import Names, names, words
from sciml.export.protocol import BETWEEN, finish, refuse
from sciml.lowering.program import rewritten
from sciml.symbolic.declarations import Parameter
from sciml.symbolic.system import System

RESERVED = words("time avogadro delay rateOf")
XHTML = 'xmlns="http://www.w3.org/1999/xhtml"'

# SymPy's class -> libsbml's name of the node.
FUNCTIONS = {
    **{name: f"FUNCTION_{name.upper()}" for name in ("sin", "cos", "tan", "sec", "csc", "cot", "exp", "floor")},
    **{name: f"FUNCTION_{name.upper()}" for name in ("sinh", "cosh", "tanh", "sech", "csch", "coth")},
    **{f"a{name}": f"FUNCTION_ARC{name.upper()}" for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh")},
    **{"Abs": "FUNCTION_ABS", "ceiling": "FUNCTION_CEILING", "log": "FUNCTION_LN"},
    **{"And": "LOGICAL_AND", "Or": "LOGICAL_OR", "Not": "LOGICAL_NOT", "Equality": "RELATIONAL_EQ"},
    **{"Unequality": "RELATIONAL_NEQ", "StrictLessThan": "RELATIONAL_LT", "LessThan": "RELATIONAL_LEQ"},
    **{"StrictGreaterThan": "RELATIONAL_GT", "GreaterThan": "RELATIONAL_GEQ", "Add": "PLUS", "Mul": "TIMES"},
}


class _Formula:
    """Formulas as libsbml's trees."""

    def __init__(self, libsbml: Any, table: Names, time: sp.Symbol):
        self.libsbml, self.table, self.time = libsbml, table, time

    def tree(self, expression: sp.Basic) -> Any:
        """The tree of an expression."""
        return self._tree(self._plain(rewritten(sp.sympify(expression))))

    @staticmethod
    def _plain(expression: sp.Basic) -> sp.Basic:
        """The expression without functions that MathML lacks and others can stand in for."""
        cases = sp.Piecewise
        result: Any = expression
        result = result.replace(sp.Mod, lambda a, b: a - b * sp.floor(a / b))
        result = result.replace(sp.sign, lambda a: cases((1, a > 0), (-1, a < 0), (0, True)))
        result = result.replace(sp.Heaviside, lambda a, zero=sp.S.Half: cases((1, a > 0), (0, a < 0), (zero, True)))
        result = result.replace(sp.Max, lambda *a: _folded(a, lambda x, y: cases((x, x > y), (y, True))))
        return result.replace(sp.Min, lambda *a: _folded(a, lambda x, y: cases((x, x < y), (y, True))))

    def _tree(self, expression: sp.Basic) -> Any:
        node = self.libsbml.ASTNode()
        if isinstance(expression, sp.Symbol):
            node.setType(self.libsbml.AST_NAME_TIME if expression == self.time else self.libsbml.AST_NAME)
            node.setName("time" if expression == self.time else self.table[expression])
        elif expression in (sp.true, sp.false):
            node.setType(self.libsbml.AST_CONSTANT_TRUE if expression == sp.true else self.libsbml.AST_CONSTANT_FALSE)
        elif isinstance(expression, sp.Integer) and abs(int(expression)) < 2**31:
            node.setValue(int(expression))
        elif isinstance(expression, sp.Rational) and max(abs(expression.p), expression.q) < 2**31:
            node.setValue(int(expression.p), int(expression.q))
        elif isinstance(expression, sp.Expr) and expression.is_number and not expression.has(sp.Function):
            node.setType(self.libsbml.AST_REAL)
            node.setValue(float(expression))
        elif isinstance(expression, sp.Pow):
            self._fill(node, "POWER", expression.args)
        elif isinstance(expression, sp.Piecewise):
            node.setType(self.libsbml.AST_FUNCTION_PIECEWISE)
            for value, condition in expression.args:  # pyright: ignore[reportGeneralTypeIssues]
                node.addChild(self._tree(value))
                if condition != sp.true:
                    node.addChild(self._tree(condition))
        elif type(expression).__name__ in FUNCTIONS:
            self._fill(node, FUNCTIONS[type(expression).__name__], expression.args)
        else:
            raise ModelError(
                f"`{expression}` cannot be written in SBML, whose MathML has no `{type(expression).__name__}`."
            )
        return node

    def _fill(self, node: Any, kind: str, arguments) -> None:
        node.setType(getattr(self.libsbml, f"AST_{kind}"))
        for argument in arguments:
            node.addChild(self._tree(argument))


def _folded(arguments, choose):
    result, *rest = sorted(arguments, key=str)
    for argument in rest:
        result = choose(result, argument)
    return result


def sbml(system: System, path: str | Path | None = None) -> str:
    """A System as SBML Level 3 Version 1: parameters with rate rules, which every simulator of SBML reads.

    States are parameters that vary, their equations rate rules; observables are assignment rules, initial values that
    depend on parameters initial assignments, and events with resets are events. An input is a parameter that varies,
    without value and rule, which in SBML is given from outside: a simulator needs its values. libsbml checks the
    document. Numbers have 15 digits, as libsbml writes them. `sciml.import_sbml` reads it back (but no events). Names
    that SBML does not allow as identifiers are changed, and the user's own kept as `name`.

    Args:
        system: Without functions to be learned.
        path: Where to write it, too.

    Raises:
        ModelError: Learned functions, noise, terminal events, a function that MathML lacks (erf, atan2, ...), or libsbml
            is not installed.

    Example:
        >>> import sympy as sp
        >>> from sciml import System
        >>> x, k = sp.symbols("x k", real=True)
        >>> "<rateRule variable=\\"x\\">" in sbml(System({x: -k * x}, parameters={k: 0.5}))
        True
    """
    refuse(system, "SBML", "networks", "noise", "terminal events")
    if system.discrete:
        raise ModelError("the System is a map (`discrete=True`); exported SBML holds differential equations.")
    libsbml = libsbml_module()
    symbols = [*system.states, *system.parameters, *system.inputs, *system.observed]
    formula = _Formula(libsbml, names(symbols, RESERVED), system.time)
    document = libsbml.SBMLDocument(3, 1)
    model = document.createModel()
    model.setId("law")
    for symbol in symbols:
        parameter = model.createParameter()
        parameter.setId(formula.table[symbol])
        parameter.setConstant(symbol in system.parameters)
        if str(symbol) != formula.table[symbol]:
            parameter.setName(str(symbol))
        if symbol in system.parameters:
            parameter.setValue(system.parameters[symbol].value)
        elif symbol in system.inputs:
            # Neither value nor rule: what SBML calls obtained from outside.
            parameter.setNotes(f"<p {XHTML}>Input over time, {BETWEEN[system.inputs[symbol]]}.</p>")
        elif symbol in system.initial:
            _start(model, parameter, system.initial[symbol], formula)
    for rules, create in ((system.equations, model.createRateRule), (system.observed, model.createAssignmentRule)):
        for symbol, value in rules.items():
            rule = create()
            rule.setVariable(formula.table[symbol])
            rule.setMath(formula.tree(value))
    for i, event in enumerate(system.events):
        for way in {"rising": (sp.Gt,), "falling": (sp.Lt,), "both": (sp.Gt, sp.Lt)}[event.direction]:
            _event(
                model,
                f"event_{i}_{'rising' if way is sp.Gt else 'falling'}",
                way(event.condition, 0),
                event.reset or {},
                formula,
            )
    document.checkConsistency()
    errors = [document.getError(i) for i in range(document.getNumErrors())]
    fatal = [e.getMessage().strip() for e in errors if e.getSeverity() >= libsbml.LIBSBML_SEV_ERROR]
    if fatal:
        raise ModelError(f"libsbml finds the exported model invalid: {fatal[0]}")
    return finish(libsbml.writeSBMLToString(document), path)


def _start(model: Any, parameter: Any, value: Any, formula: _Formula) -> None:
    number = value.value if isinstance(value, Parameter) else float(value) if value.is_number else math.nan
    if not math.isnan(number):
        parameter.setValue(number)
        return
    assignment = model.createInitialAssignment()
    assignment.setSymbol(parameter.getId())
    assignment.setMath(formula.tree(value))


def _event(model: Any, name: str, condition: sp.Basic, reset: dict, formula: _Formula) -> None:
    event = model.createEvent()
    event.setId(name)
    event.setUseValuesFromTriggerTime(True)
    trigger = event.createTrigger()
    # A condition that holds at the start does not fire there.
    trigger.setInitialValue(True)
    trigger.setPersistent(True)
    trigger.setMath(formula.tree(condition))
    for symbol, value in reset.items():
        assignment = event.createEventAssignment()
        assignment.setVariable(formula.table[symbol])
        assignment.setMath(formula.tree(value))


def libsbml_module() -> Any:
    """libsbml, or what to install."""
    try:
        import libsbml
    except ImportError as error:
        raise ModelError('SBML needs libsbml: `pip install "sciml-hybrid[sbml]"`.') from error
    return libsbml
