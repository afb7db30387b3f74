"""SBML read as its rules mean it: cases of the SBML test suite, and models by hand."""

import numpy as np
import pytest
import torch

import sciml

libsbml = pytest.importorskip("libsbml", reason="python-libsbml is not installed")


TIME = '<csymbol definitionURL="http://www.sbml.org/sbml/symbols/{}" encoding="text"> {} </csymbol>'


class Model:
    """Writes SBML Level 3 Version 1 with libsbml: one method for each kind of element, each gives the element."""

    def __init__(self, **compartments):
        self.document = libsbml.SBMLDocument(3, 1)
        self.model = self.document.createModel()
        for name, size in (compartments or {"cell": 1}).items():
            compartment = self.model.createCompartment()
            compartment.setId(name)
            compartment.setConstant(True)
            compartment.setSpatialDimensions(3)
            if size is not None:
                compartment.setSize(size)

    def species(self, name, amount=None, *, concentration=None, where="cell", substance=False, boundary=False,
                constant=False):  # fmt: skip
        element = self.model.createSpecies()
        element.setId(name)
        element.setCompartment(where)
        element.setHasOnlySubstanceUnits(substance)
        element.setBoundaryCondition(boundary)
        element.setConstant(constant)
        if amount is not None:
            element.setInitialAmount(amount)
        if concentration is not None:
            element.setInitialConcentration(concentration)
        return element

    def parameter(self, name, value=None, *, constant=True):
        element = self.model.createParameter()
        element.setId(name)
        element.setConstant(constant)
        if value is not None:
            element.setValue(value)
        return element

    def reaction(self, name, reactants, products, law=None, **local):
        element = self.model.createReaction()
        element.setId(name)
        element.setReversible(False)
        element.setFast(False)
        for make, side in ((element.createReactant, reactants), (element.createProduct, products)):
            for species, number in side.items():
                reference = make()
                reference.setSpecies(species)
                reference.setConstant(True)
                reference.setStoichiometry(number)
        if law is not None:
            kinetic = element.createKineticLaw()
            kinetic.setMath(libsbml.parseL3Formula(law))
            for key, value in local.items():
                parameter = kinetic.createLocalParameter()
                parameter.setId(key)
                parameter.setValue(value)
        return element

    def rule(self, kind, variable, formula):
        make = {"rate": self.model.createRateRule, "assignment": self.model.createAssignmentRule}
        element = make[kind]()
        element.setVariable(variable)
        element.setMath(libsbml.parseL3Formula(formula))
        return element

    def start(self, symbol, formula):
        element = self.model.createInitialAssignment()
        element.setSymbol(symbol)
        element.setMath(libsbml.parseL3Formula(formula))
        return element

    def function(self, name, definition):
        element = self.model.createFunctionDefinition()
        element.setId(name)
        element.setMath(libsbml.parseL3Formula(definition))
        return element

    def read(self, folder):
        return read(libsbml.writeSBMLToString(self.document), folder)


def read(text, folder):
    path = folder / "model.xml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return sciml.import_sbml(path)


def simulated(system, times):
    """Column name -> values; the first time is the start."""
    solution = sciml.simulate(system, np.array(times), rtol=1e-10, atol=1e-13)
    return {str(name): solution[name] for name in (*system.states, *system.observed)}


def starts(system):
    """Name -> number of the initial values."""
    return dict(zip(map(str, system.states), sciml.compile(system).initial.tolist(), strict=True))


def rates(system, time=0.0, **states):
    """Name -> number of the rates, by default at the start."""
    field = sciml.compile(system)
    at = torch.tensor([(starts(system) | states)[str(x)] for x in system.states], dtype=torch.float64)
    return dict(zip(map(str, system.states), field(time, at).tolist(), strict=True))


def two_steps():
    """Case 00004: S1 -> 2 S2 and back, stoichiometries other than one."""
    model = Model(compartment=1)
    model.species("S1", 0.15, where="compartment")
    model.species("S2", 0, where="compartment")
    model.parameter("k1", 0.35)
    model.parameter("k2", 180)
    model.reaction("forward", {"S1": 1}, {"S2": 2}, "k1 * S1 * compartment")
    model.reaction("back", {"S2": 2}, {"S1": 1}, "k2 * S2 * S2 * compartment")
    return model


def shrinking():
    """Case 00053: a compartment that shrinks by a rate rule; this case's numbers are concentrations."""
    model = Model(C=1)
    model.model.getCompartment("C").setConstant(False)
    for name, amount in {"S1": 1, "S2": 1.5, "S3": 2, "S4": 1}.items():
        model.species(name, amount, where="C")
    for name, value in {"k1": 0.75, "k2": 0.25, "p1": 0.1}.items():
        model.parameter(name, value)
    model.rule("rate", "C", "-p1 * C")
    model.reaction("forward", {"S1": 1, "S2": 1}, {"S3": 1, "S4": 1}, "k1 * S1 * S2 * C")
    model.reaction("back", {"S3": 1, "S4": 1}, {"S1": 1, "S2": 1}, "k2 * S3 * S4 * C")
    return model


def two_compartments():
    """Case 00055: reactions within and between two compartments; a species on both sides."""
    model = Model(compartment=1, compartment1=1)
    for name, (amount, where) in {"S1": (1, ""), "S2": (1, ""), "S3": (0, "1"), "S4": (0.1, "1")}.items():
        model.species(name, amount, where=f"compartment{where}")
    for name, value in {"k1": 0.75, "k2": 7.5, "k3": 0.75}.items():
        model.parameter(name, value)
    model.reaction("first", {"S1": 1, "S2": 1}, {"S2": 2}, "k1 * S1 * S2 * compartment")
    model.reaction("between", {"S2": 1}, {"S3": 1}, "k2 * (S2 - S3) * compartment1")
    model.reaction("third", {"S3": 1, "S4": 1}, {"S4": 2}, "k3 * S3 * S4 * compartment")
    return model


def ruled():
    """Case 00078: an assignment rule by a function definition for a species without initial amount."""
    model = Model(compartment=1)
    model.function("multiply", "lambda(x, y, x * y)")
    model.species("S1", 1, where="compartment")
    model.species("S2", 0.5, where="compartment")
    model.species("S3", where="compartment")
    model.parameter("k1", 1.5)
    model.parameter("k2", 5)
    model.rule("assignment", "S3", "multiply(k1, S2)")
    model.reaction("only", {"S1": 1}, {"S2": 1}, "compartment * k2 * S1")
    return model


def flat():
    """Case 00101: a compartment of two dimensions, a function within a function."""
    model = Model(compartment=1)
    model.model.getCompartment("compartment").setSpatialDimensions(2)
    model.function("multiply", "lambda(x, y, x * y)")
    for name, amount in {"S1": 1e-15, "S2": 1e-4, "S3": 2e-4, "S4": 1e-4}.items():
        model.species(name, amount, where="compartment")
    model.parameter("k1", 7500)
    model.parameter("k2", 2500)
    model.reaction("forward", {"S1": 1, "S2": 1}, {"S3": 1, "S4": 1}, "multiply(k1, multiply(S1, S2)) * compartment")
    model.reaction("back", {"S3": 1, "S4": 1}, {"S1": 1, "S2": 1}, "k2 * S3 * S4 * compartment")
    return model


def amounts():
    """Case 00114: species that mean amounts."""
    model = Model(compartment=1)
    model.function("multiply", "lambda(x, y, x * y)")
    for name, amount in {"S1": 0.01, "S2": 0.02, "S3": 0.01}.items():
        model.species(name, amount, where="compartment", substance=True)
    model.parameter("k1", 1.7)
    model.parameter("k2", 0.3)
    model.reaction("forward", {"S1": 1, "S2": 1}, {"S3": 1}, "k1 * multiply(S1, S2)")
    model.reaction("back", {"S3": 1}, {"S1": 1, "S2": 1}, "k2 * S3")
    return model


# The suite's own results (github.com/sbmlteam/sbml-test-suite, cases/semantic/*/*-results.csv) at three times.
# Volumes are one where it prints amounts. The stored results of cases 00051 and 00052 do not conserve mass.
SUITE = {
    two_steps: {
        "S1": {0.2: 0.1429760887550795, 0.6: 0.1417105224008525, 2: 0.1417004714814062},
        "S2": {0.2: 0.01404782248984108, 0.6: 0.01657895519829501, 2: 0.01659905703718799},
    },
    shrinking: {
        "S1": {0.5: 0.863445577, 2: 0.917562098, 5: 1.236541061},
        "S2": {0.5: 1.389081125, 2: 1.528263477, 5: 2.060901696},
        "S3": {0.5: 2.290367712, 2: 2.746646176, 5: 3.709622751},
        "S4": {0.5: 1.239096616, 2: 1.525243418, 5: 2.060901481},
        "C": {0.5: 0.951229425, 2: 0.818730753, 5: 0.60653066},
    },
    two_compartments: {
        "S1": {0.48: 0.7956522106834803, 4: 0.1212644441370506, 8: 0.04446549586381162},
        "S2": {0.48: 0.607248528042342, 4: 0.638147172736052, 8: 0.09834757899966618},
        "S3": {0.48: 0.578701079022463, 4: 0.6121573313740102, 8: 0.08943042343039783},
        "S4": {0.48: 0.118398182251714, 4: 0.728431051752886, 8: 1.867756501706124},
    },
    ruled: {
        "S1": {0.3: 0.2231301601145403, 0.6: 0.04978706762941471, 1.5: 0.0005530843701503933},
        "S2": {0.3: 1.276869839885459, 0.6: 1.450212932370583, 1.5: 1.499446915629848},
        "S3": {0.3: 1.915304759828188, 0.6: 2.175319398555875, 1.5: 2.249170373444771},
    },
    flat: {
        "S1": {0.05: 2.408067238201047e-06, 1: 2.491015972718151e-05, 2.5: 2.991328342051705e-05},
        "S3": {0.05: 0.0001975919327627989, 1: 0.0001750898402738185, 2.5: 0.000170086716580483},
    },
    amounts: {
        "S1": {0.3: 0.0107573245263036, 6: 0.01652815314876347, 15: 0.01729197227942947},
        "S3": {0.3: 0.009242675473696393, 6: 0.003471846851236531, 15: 0.002708027720570544},
    },
}


@pytest.mark.parametrize("build", SUITE, ids=[build.__doc__.split(":")[0] for build in SUITE])
def test_cases_of_the_test_suite_give_its_numbers(build, tmp_path):
    expected = SUITE[build]
    times = [0, *next(iter(expected.values()))]
    found = simulated(build().read(tmp_path), times)
    for name, row in expected.items():
        # The suite's own numbers are good to about seven digits.
        assert found[name][1:] == pytest.approx(list(row.values()), rel=1e-6, abs=1e-12), name


def test_concentration_and_amount_differ_in_a_volume_other_than_one(tmp_path):
    model = Model(cell=2)
    model.species("A", concentration=3)
    model.species("N", concentration=3, substance=True)
    model.reaction("decay", {"A": 1, "N": 1}, {}, "0.5 * cell")
    system = model.read(tmp_path)
    assert starts(system) == {"A": 3, "N": 6}
    assert rates(system) == {"A": -0.5, "N": -1}


def test_an_initial_amount_is_divided_by_the_volume_and_conversion_factors_multiply(tmp_path):
    model = Model(cell=2)
    model.species("A", amount=3).setConversionFactor("factor")
    model.parameter("factor", 10)
    model.reaction("supply", {}, {"A": 3}, "cell * 0.25")
    system = model.read(tmp_path)
    assert starts(system) == {"A": 1.5}
    # 3 molecules x 0.25 x 2 x 10 amounts, over a volume of 2.
    assert rates(system) == {"A": 7.5}


def test_species_at_a_boundary_and_constant_ones_stay_where_they_are(tmp_path):
    model = Model()
    model.species("A", 2)
    model.species("fed", 3, boundary=True)
    model.species("fixed", 5, boundary=True, constant=True)
    model.reaction("all", {"A": 1, "fed": 1, "fixed": 1}, {}, "A * fed * fixed")
    system = model.read(tmp_path)
    assert rates(system) == {"A": -30}
    assert {str(p): v.value for p, v in system.parameters.items()} == {"cell": 1, "fed": 3, "fixed": 5}


def test_a_boundary_species_with_a_rate_rule_follows_the_rule_alone(tmp_path):
    model = Model()
    model.species("A", 2, boundary=True)
    model.reaction("ignored", {"A": 1}, {}, "A")
    model.rule("rate", "A", "7 * A")
    assert rates(model.read(tmp_path)) == {"A": 14}


def test_a_boundary_species_thins_out_where_its_compartment_grows(tmp_path):
    model = Model(cell=2)
    model.model.getCompartment("cell").setConstant(False)
    model.species("A", 1)
    model.species("fed", 6, boundary=True)
    model.rule("rate", "cell", "1")
    model.reaction("supply", {"fed": 1}, {"A": 1}, "cell * fed")
    system = model.read(tmp_path)
    # d(A V)/dt = V 6/V, so dA/dt = 6/V - A/V.
    assert rates(system, A=0.5, cell=3.0) == {"A": pytest.approx(5.5 / 3, rel=1e-15), "cell": 1}


def test_a_rule_named_in_a_kinetic_law_does_not_see_its_local_parameters(tmp_path):
    model = Model()
    model.species("A", 1)
    model.parameter("k", 100)
    model.parameter("m", constant=False)
    model.rule("assignment", "m", "2 * k")
    model.reaction("only", {"A": 1}, {}, "k * m * A", k=3)
    assert rates(model.read(tmp_path)) == {"A": -600}


def test_local_parameters_are_kept_apart_and_shadow_global_ones(tmp_path):
    model = Model()
    model.species("A", 1)
    model.parameter("k", 100)
    model.reaction("slow", {"A": 1}, {}, "k * A", k=2)
    model.reaction("quick", {"A": 1}, {}, "k * A", k=3)
    model.reaction("shared", {"A": 1}, {}, "k * A")
    system = model.read(tmp_path)
    assert rates(system) == {"A": -105}
    assert {str(p): v.value for p, v in system.parameters.items()} == {"cell": 1, "slow_k": 2, "quick_k": 3, "k": 100}


def test_a_local_parameter_never_takes_the_name_of_a_global_one(tmp_path):
    model = Model()
    model.species("A", 1)
    model.parameter("slow_k", 100)
    model.reaction("slow", {"A": 1}, {}, "k * slow_k * A", k=2)
    assert rates(model.read(tmp_path)) == {"A": -200}


def test_the_argument_of_a_function_is_not_the_parameter_of_the_same_name(tmp_path):
    model = Model()
    model.function("twice", "lambda(k, 2 * k)")
    model.species("A", 3)
    model.parameter("k", 100)
    model.reaction("only", {"A": 1}, {}, "twice(A) + k")
    assert rates(model.read(tmp_path)) == {"A": -106}


def test_initial_assignments_are_read_in_any_order_and_hold_at_the_start_only(tmp_path):
    model = Model(cell=2)
    model.species("A", 1)
    model.species("B", 1)
    model.parameter("k", 1, constant=False)
    model.parameter("level")
    model.start("A", "2 * B")
    model.start("B", "level + 1")
    model.start("level", "k ^ 2 + 3")
    model.rule("assignment", "k", "4 + A * 0")
    model.reaction("only", {"A": 1}, {"B": 1}, "level * A")
    system = model.read(tmp_path)
    assert starts(system) == {"A": 40, "B": 20}
    # `level` stays at 19 wherever A goes.
    assert rates(system, A=2.0) == {"A": -19, "B": 19}


def test_rules_may_name_each_other_in_any_order_and_the_time(tmp_path):
    model = Model()
    model.species("A", 2)
    for name in ("first", "second"):
        model.parameter(name, constant=False)
    model.rule("assignment", "first", "second + 1")
    model.rule("assignment", "second", "A * time")
    model.reaction("only", {"A": 1}, {}, "first")
    system = model.read(tmp_path)
    assert rates(system, time=3.0) == {"A": -7}
    assert [str(x) for x in system.observed] == ["first", "second"]


FORMULAS = {
    "plus()": 0, "times()": 1, "-x": -2, "x - 3": -1, "7 / x": 3.5, "x^3": 8, "root(3, x)": 2 ** (1 / 3),
    "sqrt(x)": 2**0.5, "ln(x)": np.log(2), "log10(x)": np.log10(2), "log(8, x)": np.log(2) / np.log(8), "exp(x)": np.exp(2),
    "abs(-x)": 2, "floor(x / 4)": 0, "ceil(x / 4)": 1, "piecewise(5, x > 3, 6)": 6, "piecewise(5, x > 1, 6, x > 0, 7)": 5,
    "piecewise(1, x == 2 && !(x != 2), 0)": 1, "piecewise(1, x < 1 || x >= 2, 0)": 1, "piecewise(1, xor(x > 1, x > 0), 0)": 0,
    "piecewise(1, 1 < x < 3, 0)": 1, "sin(x) + cos(x) + tan(x)": np.sin(2) + np.cos(2) + np.tan(2),
    "sec(x) + csc(x) + cot(x)": 1 / np.cos(2) + 1 / np.sin(2) + 1 / np.tan(2),
    "arcsin(x/4) + arccos(x/4) + arctan(x)": np.arcsin(0.5) + np.arccos(0.5) + np.arctan(2),
    "arcsec(x) + arccsc(x) + arccot(x)": np.arccos(0.5) + np.arcsin(0.5) + np.arctan(0.5),
    "sinh(x) + cosh(x) + tanh(x)": np.sinh(2) + np.cosh(2) + np.tanh(2),
    "sech(x) + csch(x) + coth(x)": 1 / np.cosh(2) + 1 / np.sinh(2) + 1 / np.tanh(2),
    "arcsinh(x) + arccosh(x) + arctanh(x/4)": np.arcsinh(2) + np.arccosh(2) + np.arctanh(0.5),
    "arccoth(x)": np.arctanh(0.5), "arcsech(x/4)": np.arccosh(2), "arccsch(x)": np.arcsinh(0.5),
    "pi * exponentiale": np.pi * np.e, "avogadro / 1e23": 6.02214179, "1e-3 * x": 2e-3, "piecewise(1, true, 2)": 1,
}  # fmt: skip


@pytest.mark.parametrize(("formula", "value"), FORMULAS.items())
def test_every_operator_of_mathml_means_what_it_says(formula, value, tmp_path):
    model = Model()
    model.parameter("x", 2, constant=False)
    model.rule("rate", "x", formula)
    assert rates(model.read(tmp_path))["x"] == pytest.approx(value, rel=1e-13)


def decay():
    """An honest model, the accepted neighbor of what follows."""
    model = Model()
    model.species("A", 1)
    model.parameter("k", 0.5)
    model.parameter("m", 2, constant=False)
    model.reaction("loss", {"A": 1}, {}, "k * A")
    return model


def law(formula):
    return lambda model: model.model.getReaction(0).getKineticLaw().setMath(libsbml.parseL3Formula(formula))


def honest():
    return libsbml.writeSBMLToString(decay().document)
