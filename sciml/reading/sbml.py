"""Ordinary differential equations from SBML: reactions, rules and initial assignments; all else is refused by name."""

from __future__ import annotations

import math
from functools import cached_property
from pathlib import Path
from typing import Any
from xml.parsers import expat

import sympy as sp

from sciml.errors import DataError, ModelError
from sciml.reading.mathml import TIME, Reader
from sciml.symbolic.system import System

DEPTH, LARGEST = 300, 50_000_000


def import_sbml(path: str | Path) -> System:
    """The differential equations of an SBML file (Levels 2 and 3).

    Species become states in the quantity that formulas mean by them: amounts where `hasOnlySubstanceUnits`,
    concentrations elsewhere. Reactions with kinetic laws, rate rules, assignment rules (which become observables),
    initial assignments, function definitions, compartments (also growing ones) and conversion factors are read.
    Constants become known parameters; free those that are to be fitted by `system.with_parameters({k: Parameter(0.1,
    bounds=(0, 1))})`. A parameter that varies and has neither value nor rule becomes an input, linear between samples.
    Units are left alone. Formulas are built from a whitelist of nodes; nothing in the file is run.

    Args:
        path: The file.

    Raises:
        DataError: The file is missing, is no valid SBML, or holds what is not read here, by name: events, delays, algebraic
            rules, fast reactions, varying stoichiometry, required packages, ...
        ModelError: libsbml is not installed.

    Example:
        >>> import tempfile, sympy as sp, sciml
        >>> x, k = sp.symbols("x k", real=True)
        >>> with tempfile.NamedTemporaryFile(suffix=".xml") as file:
        ...     source = sciml.export.sbml(sciml.System({x: -k * x}, {k: 0.5}, initial={x: 1.0}), file.name)
        ...     import_sbml(file.name)
        System(x' = -k*x)

    Reference:
        Hucka et al. (2019), Journal of Integrative Bioinformatics 16(2), SBML Level 3 Version 2 Core.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"there is no file `{path}`.")
    data = path.read_bytes()
    _check_xml(data, path)
    try:
        import libsbml
    except ImportError as error:
        raise ModelError('SBML needs libsbml: `pip install "sciml-hybrid[sbml]"`.') from error
    document = libsbml.readSBMLFromString(data.decode("utf-8", errors="strict"))
    errors = [document.getError(i) for i in range(document.getNumErrors())]
    fatal = [e for e in errors if e.getSeverity() >= libsbml.LIBSBML_SEV_ERROR]
    if fatal or document.getModel() is None:
        reason = fatal[0].getMessage().strip() if fatal else "it holds no model"
        raise DataError(f"`{path}` is not valid SBML: {reason}")
    try:
        return _Model(libsbml, document).system()
    except DataError as error:
        raise DataError(f"`{path}`: {error}") from error


def _check_xml(data: bytes, path: Path) -> None:
    """Refuse what could exhaust a parser: entities, and depths that no honest model has."""
    if len(data) > LARGEST:
        raise DataError(f"`{path}` has {len(data)} bytes; at most {LARGEST} are read.")
    parser, depth = expat.ParserCreate(), 0

    def start(name, attributes):
        nonlocal depth
        depth += 1
        if depth > DEPTH:
            raise DataError(f"`{path}` nests deeper than {DEPTH} levels.")

    def end(name):
        nonlocal depth
        depth -= 1

    def doctype(*declared):
        raise DataError(f"`{path}` declares a document type, which SBML has not.")

    parser.StartElementHandler, parser.EndElementHandler, parser.StartDoctypeDeclHandler = start, end, doctype
    try:
        parser.Parse(data, True)
        data.decode("utf-8")
    except (expat.ExpatError, UnicodeDecodeError) as error:
        raise DataError(f"`{path}` is not XML in UTF-8 ({error}).") from error


class _Model:
    """One model, read table by table."""

    def __init__(self, libsbml: Any, document: Any):
        self.libsbml, self.model = libsbml, document.getModel()
        self._refuse(document)
        model = self.model
        self.species = {s.getId(): s for s in model.getListOfSpecies()}
        self.compartments = {c.getId(): c for c in model.getListOfCompartments()}
        self.parameters = {p.getId(): p for p in model.getListOfParameters()}
        functions = {f.getId(): f for f in model.getListOfFunctionDefinitions()}
        self.reader = Reader(libsbml, self.value, functions)
        self.local: dict[str, sp.Symbol] = {}
        rules = list(model.getListOfRules())
        self.assigned = {r.getVariable(): r for r in rules if r.isAssignment()}
        self.rated = {r.getVariable(): r for r in rules if r.isRate()}
        self.starts = {a.getSymbol(): a for a in model.getListOfInitialAssignments()}
        self.values: dict[sp.Symbol, float] = {}
        self.ruled: dict[str, sp.Expr] = {}
        self.busy: list[str] = []
        self._check_references()

    def _check_references(self) -> None:
        """Refuse names that name nothing: libsbml reads them without a word."""
        for species in self.species.values():
            if species.getCompartment() not in self.compartments:
                raise DataError(f"the compartment `{species.getCompartment()}` of `{species.getId()}` does not exist.")
        known = {*self.species, *self.compartments, *self.parameters}
        for reaction in self.model.getListOfReactions():
            for reference in (*reaction.getListOfReactants(), *reaction.getListOfProducts()):
                known.add(reference.getId())
                if reference.getSpecies() not in self.species:
                    raise DataError(f"the species `{reference.getSpecies()}` of `{reaction.getId()}` does not exist.")
        unknown = [name for name in (*self.assigned, *self.rated, *self.starts) if name not in known]
        if unknown:
            raise DataError(f"a rule or an initial assignment gives a value to `{unknown[0]}`, which does not exist.")

    def _refuse(self, document: Any) -> None:
        model = self.model
        for i in range(document.getNumPlugins()):
            name = document.getPlugin(i).getPackageName()
            # libsbml's own word for the functions that Level 3 Version 2 added to MathML.
            if name != "l3v2extendedmath" and document.getPackageRequired(name):
                raise DataError(f"the package `{name}` is required, which is not read here.")
        for what, found in (("event", model.getListOfEvents()), ("constraint", model.getListOfConstraints())):
            if len(found):
                raise DataError(
                    f"the {what} `{found[0].getId() or 'without id'}` is not read here: remove it from the file."
                )
        for rule in model.getListOfRules():
            if rule.isAlgebraic():
                raise DataError(
                    f"the algebraic rule `0 = {self.libsbml.formulaToL3String(rule.getMath())}` is not read here."
                )
        for reaction in model.getListOfReactions():
            if reaction.isSetFast() and reaction.getFast():
                raise DataError(f"the fast reaction `{reaction.getId()}` is not read here.")
            if not reaction.isSetKineticLaw():
                raise DataError(f"the reaction `{reaction.getId()}` has no kinetic law.")

    @cached_property
    def changed(self) -> set[str]:
        """Species that reactions change."""
        sides = (*self.model.getListOfReactions(),)
        touched = {x.getSpecies() for r in sides for x in (*r.getListOfReactants(), *r.getListOfProducts())}
        return {x for x in touched if not self.species[x].getBoundaryCondition() and not self.species[x].getConstant()}

    def is_state(self, name: str) -> bool:
        return name in self.rated or (name in self.changed and name not in self.assigned)

    def value(self, name: str) -> sp.Expr:
        """What a formula means by an identifier: a state, a known constant, or what assigns it."""
        if name in self.local:
            return self.local[name]
        if name not in {*self.species, *self.compartments, *self.parameters}:
            kind = "reaction" if self.model.getReaction(name) else "name"
            raise DataError(f"the {kind} `{name}` stands in a formula, which is not read here.")
        if self.is_state(name):
            return sp.Symbol(name, real=True)
        rule = self.assigned.get(name) or self.starts.get(name)
        if rule is not None:
            if name not in self.ruled:
                self.ruled[name] = self.assigned_value(name, rule)
            return self.ruled[name]
        if name in self.species and not self.in_amounts(name) and self.varies(self.species[name].getCompartment()):
            # The amount stays, so the concentration follows the volume.
            return self.start_of_species(name) * self.size_at_start(name) / self.size(name)
        symbol = sp.Symbol(name, real=True)
        if not self.is_input(name):
            self.values[symbol] = self.constant(name)
        return symbol

    def is_input(self, name: str) -> bool:
        """Whether a parameter varies, and neither a value nor a rule says how: it is given from outside."""
        parameter = self.parameters.get(name)
        if parameter is None or parameter.getConstant() or parameter.isSetValue():
            return False
        return not any(name in table for table in (self.assigned, self.rated, self.starts))

    def varies(self, name: str) -> bool:
        return self.is_state(name) or name in self.assigned

    def size(self, species: str) -> sp.Expr:
        return self.value(self.species[species].getCompartment())

    def assigned_value(self, name: str, rule: Any) -> sp.Expr:
        if name in self.busy:
            raise DataError(f"`{name}` is assigned in a circle: {' -> '.join([*self.busy, name])}.")
        # A rule that a kinetic law names does not know the law's own parameters.
        self.busy.append(name)
        local, self.local = self.local, {}
        value = self.formula(rule.getMath(), f"the assignment of `{name}`")
        self.busy.pop()
        self.local = local
        # An initial assignment holds at the start only.
        return value if name in self.assigned else self.at_start(value)

    def formula(self, math_: Any, where: str) -> sp.Expr:
        return self.reader.expression(math_, where)

    def at_start(self, value: sp.Expr) -> sp.Expr:
        """An expression at the start: states by their initial values, time by zero."""
        states = {x: self.initial(x.name) for x in sorted(value.free_symbols, key=str) if self.is_state(x.name)}
        given = sorted(x.name for x in value.free_symbols if self.is_input(x.name))
        if given:
            raise DataError(f"an initial value depends on `{given[0]}`, which has no value at the start.")
        return value.subs(states).subs(TIME, 0)

    def constant(self, name: str) -> float:
        """The number that an attribute gives."""
        if name in self.parameters:
            number, given = self.parameters[name].getValue(), self.parameters[name].isSetValue()
        elif name in self.compartments:
            number, given = self.compartments[name].getSize(), self.compartments[name].isSetSize()
        else:
            number, given = float(self.start_of_species(name).subs(self.values)), True
        if not given or not math.isfinite(number):
            raise DataError(f"`{name}` has no finite value.")
        return number

    def initial(self, name: str) -> sp.Expr:
        """The initial value of a state."""
        if name in self.busy:
            raise DataError(f"`{name}` starts in a circle: {' -> '.join([*self.busy, name])}.")
        if name in self.starts:
            self.busy.append(name)
            value = self.at_start(self.formula(self.starts[name].getMath(), f"the initial assignment of `{name}`"))
            self.busy.pop()
            return value
        return self.start_of_species(name) if name in self.species else sp.Float(self.constant(name))

    def start_of_species(self, name: str) -> sp.Expr:
        """Amount or concentration at the start, as formulas mean it."""
        species = self.species[name]
        amounts = self.in_amounts(name)
        if species.isSetInitialAmount():
            value = sp.Float(species.getInitialAmount())
            return value if amounts else value / self.size_at_start(name)
        if species.isSetInitialConcentration():
            value = sp.Float(species.getInitialConcentration())
            return value * self.size_at_start(name) if amounts else value
        raise DataError(f"the species `{name}` has no initial amount or concentration.")

    def in_amounts(self, name: str) -> bool:
        species = self.species[name]
        compartment = self.compartments[species.getCompartment()]
        return species.getHasOnlySubstanceUnits() or compartment.getSpatialDimensionsAsDouble() == 0

    def size_at_start(self, name: str) -> sp.Expr:
        return self.at_start(self.size(name))

    def rates(self) -> dict[str, sp.Expr]:
        """Rate of change of each state."""
        found: dict[str, sp.Expr] = {name: sp.S.Zero for name in (*self.species, *self.compartments, *self.parameters)
                                     if self.is_state(name)}  # fmt: skip
        for reaction in self.model.getListOfReactions():
            law = self.kinetic_law(reaction)
            for sign, side in ((-1, reaction.getListOfReactants()), (1, reaction.getListOfProducts())):
                for reference in side:
                    name = reference.getSpecies()
                    if name in self.changed and name not in self.rated:
                        found[name] += sign * self.stoichiometry(reference, reaction) * law * self.conversion(name)
        for name in found:
            if name in self.rated:
                found[name] = self.formula(self.rated[name].getMath(), f"the rate rule of `{name}`")
            elif not self.in_amounts(name):
                found[name] = self.as_concentration(name, found[name], found)
        return found

    def as_concentration(self, name: str, amount_rate: sp.Expr, found: dict[str, sp.Expr]) -> sp.Expr:
        """d(A/V)/dt = (dA/dt)/V - (A/V) (dV/dt)/V."""
        compartment = self.species[name].getCompartment()
        if compartment in self.assigned:
            raise DataError(
                f"the compartment `{compartment}` has an assignment rule and holds `{name}`: not read here."
            )
        size = self.value(compartment)
        rate = amount_rate / size
        if compartment in self.rated:
            growth = self.formula(self.rated[compartment].getMath(), f"the rate rule of `{compartment}`")
            rate -= sp.Symbol(name, real=True) * growth / size
        return rate

    def kinetic_law(self, reaction: Any) -> sp.Expr:
        law = reaction.getKineticLaw()
        own = {}
        # Level 2 has the one list, Level 3 the other; libsbml may show the same parameter in both.
        both = (*law.getListOfParameters(), *law.getListOfLocalParameters())
        for parameter in {parameter.getId(): parameter for parameter in both}.values():
            symbol = sp.Symbol(self.unused(f"{reaction.getId()}_{parameter.getId()}"), real=True)
            if not parameter.isSetValue() or not math.isfinite(parameter.getValue()):
                raise DataError(
                    f"the local parameter `{parameter.getId()}` of `{reaction.getId()}` has no finite value."
                )
            own[parameter.getId()] = symbol
            self.values[symbol] = parameter.getValue()
        self.local = own
        try:
            return self.formula(law.getMath(), f"the kinetic law of `{reaction.getId()}`")
        finally:
            self.local = {}

    def unused(self, name: str) -> str:
        """A name for a local parameter that nothing else in the model has."""
        taken = {*self.species, *self.compartments, *self.parameters, *(symbol.name for symbol in self.values)}
        while name in taken:
            name += "_"
        return name

    def stoichiometry(self, reference: Any, reaction: Any) -> sp.Expr:
        name = reference.getId()
        where = f"`{reference.getSpecies()}` in `{reaction.getId()}`"
        varies = name and (name in self.assigned or name in self.rated or name in self.starts)
        if reference.isSetStoichiometryMath() or varies:
            raise DataError(f"the stoichiometry of {where} is a formula, which is not read here.")
        number = reference.getStoichiometry()
        if not math.isfinite(number):
            raise DataError(f"the stoichiometry of {where} is not given.")
        return sp.Integer(int(number)) if number.is_integer() else sp.Float(number)

    def conversion(self, name: str) -> sp.Expr:
        species = self.species[name]
        factor = species.getConversionFactor() or self.model.getConversionFactor()
        return self.value(factor) if factor else sp.S.One

    def system(self) -> System:
        """The whole of it."""
        rates = self.rates()
        if not rates:
            raise DataError("nothing changes in this model: there is no reaction and no rate rule.")
        observed = {name: self.value(name) for name in self.assigned}
        initial = {name: self.initial(name) for name in rates}
        used = set().union(*(e.free_symbols for e in (*rates.values(), *observed.values(), *initial.values())))
        parameters = {symbol: number for symbol, number in self.values.items() if symbol in used}
        inputs = [sp.Symbol(name, real=True) for name in self.parameters if self.is_input(name)]
        inputs = [symbol for symbol in inputs if symbol in used]
        clash = sorted(s.name for s in used if s.name == "t" and (s.name in rates or s in (*parameters, *inputs)))
        if clash:
            raise DataError("the identifier `t` would be taken for time: rename it in the file.")
        return System(
            equations={sp.Symbol(name, real=True): rate for name, rate in rates.items()},
            parameters=parameters,
            initial={sp.Symbol(name, real=True): value for name, value in initial.items()},
            observed={sp.Symbol(name, real=True): value for name, value in observed.items()},
            time=TIME,
            inputs=inputs,
        )
