"""SBML that is not read, or made to harm: refused by name."""

import numpy as np
import pytest
from test_sbml import decay, honest, law, libsbml, rates, read

import sciml
from sciml import DataError


def event(model):
    element = model.model.createEvent()
    element.setId("dose")
    element.setUseValuesFromTriggerTime(True)
    trigger = element.createTrigger()
    trigger.setInitialValue(True)
    trigger.setPersistent(True)
    trigger.setMath(libsbml.parseL3Formula("time > 1"))


def algebraic(model):
    model.model.createAlgebraicRule().setMath(libsbml.parseL3Formula("m - A"))


def constraint(model):
    model.model.createConstraint().setMath(libsbml.parseL3Formula("A > 0"))


def varying_stoichiometry(model):
    reference = model.model.getReaction(0).getReactant(0)
    reference.setId("number")
    reference.setConstant(False)
    model.rule("assignment", "number", "2 * m")


def circle(model):
    model.parameter("n", constant=False)
    model.rule("assignment", "m", "n + 1")
    model.rule("assignment", "n", "m + 1")


def starting_circle(model):
    model.species("B", 1)
    model.reaction("gain", {}, {"B": 1}, "A")
    model.start("A", "B")
    model.start("B", "A")


def growing_compartment(model):
    model.model.getCompartment(0).setConstant(False)
    model.rule("assignment", "cell", "1 + time")


def lost_value(model):
    model.model.getParameter("k").unsetValue()


def given_from_outside(model):
    """A parameter that neither a value nor a rule explains, in a rate and in a start."""
    model.parameter("drive", constant=False)
    law("k * A * drive")(model)


def start_from_outside(model):
    given_from_outside(model)
    model.start("A", "2 * drive")


def nothing(model):
    model.model.removeReaction(0)


def no_law(model):
    model.model.getReaction(0).unsetKineticLaw()


def a_parameter_named_t(model):
    model.parameter("t", 3)
    law("t * A")(model)


REFUSED = {
    "events": (event, "the event `dose` is not read here: remove it from the file"),
    "constraints": (constraint, "the constraint `without id` is not read here"),
    "algebraic rules": (algebraic, "the algebraic rule `0 = m - A` is not read here"),
    "fast reactions": (lambda m: m.model.getReaction(0).setFast(True), "the fast reaction `loss` is not read here"),
    "no kinetic law": (no_law, "the reaction `loss` has no kinetic law"),
    "stoichiometry by a rule": (varying_stoichiometry, "the stoichiometry of `A` in `loss` is a formula"),
    "delays": (law("delay(A, 1)"), "the kinetic law of `loss`: `delay` is not read here"),
    "factorials": (law("factorial(A)"), "the kinetic law of `loss`: `factorial` is not read here"),
    "reactions in formulas": (law("A + loss"), "the reaction `loss` stands in a formula"),
    "circles of rules": (circle, "`m` is assigned in a circle: m -> n -> m"),
    "circles of starts": (starting_circle, "starts in a circle"),
    "a compartment by assignment": (growing_compartment, "the compartment `cell` has an assignment rule and holds `A`"),
    "a missing value": (lost_value, "`k` has no finite value"),
    "a start that nobody knows": (start_from_outside, "depends on `drive`, which has no value at the start"),
    "nothing that changes": (nothing, "nothing changes in this model"),
    "the name of time": (a_parameter_named_t, "the identifier `t` would be taken for time"),
    "no size": (lambda m: m.model.getCompartment(0).unsetSize(), "`cell` has no finite value"),
    "no start": (lambda m: m.model.getSpecies(0).unsetInitialAmount(), "the species `A` has no initial amount"),
    "an endless value": (lambda m: m.model.getParameter("k").setValue(float("inf")), "`k` has no finite value"),
    "rules for nothing": (lambda m: m.rule("rate", "ghost", "1"), "gives a value to `ghost`, which does not exist"),
    "species nowhere": (lambda m: m.species("B", 1, where="box"), "the compartment `box` of `B` does not exist"),
    "towers of powers": (law("A * 9^9^9^9"), "beyond 1000"),
}  # fmt: skip


def test_an_honest_model_is_read(tmp_path):
    assert rates(decay().read(tmp_path)) == {"A": -0.5}


def test_what_is_given_from_outside_is_an_input(tmp_path):
    model = decay()
    given_from_outside(model)
    system = model.read(tmp_path)
    assert {str(u): how for u, how in system.inputs.items()} == {"drive": "linear"}
    assert "drive" not in map(str, system.parameters)
    decayed = sciml.simulate(system, np.array([0.0, 1.0]), inputs={"drive": 2.0}, rtol=1e-10, atol=1e-13)
    assert decayed["A"][-1] / decayed["A"][0] == pytest.approx(np.exp(-0.5 * 2.0))


@pytest.mark.parametrize(("change", "text"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_read_is_refused_by_name(change, text, tmp_path):
    model = decay()
    change(model)
    with pytest.raises(DataError) as caught:
        model.read(tmp_path)
    assert text in str(caught.value)
    assert "model.xml" in str(caught.value)


def laughs(text):
    """A billion laughs: entities that hold each other."""
    entities = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 10))
    return text.replace("?>", f'?>\n<!DOCTYPE sbml [<!ENTITY l0 "ha">{entities}]>', 1).replace(
        'id="k"', 'id="k" name="&l9;"'
    )


def outside(text):
    """An entity that would read a file of the reader's machine."""
    return text.replace("?>", '?>\n<!DOCTYPE sbml [<!ENTITY secret SYSTEM "file:///etc/hostname">]>', 1)


def nested(levels):
    """A formula of so many levels."""
    deep = "<apply><minus/>" * levels + "<ci> k </ci>" + "</apply>" * levels
    return lambda text: text.replace("<ci> k </ci>", deep, 1)


def bomb(text):
    """Functions that each call the one before twice: 2^40 nodes."""
    model = decay()
    model.function("f0", "lambda(x, x + 1)")
    for i in range(1, 41):
        model.function(f"f{i}", f"lambda(x, f{i - 1}(f{i - 1}(x)))")
    law("f40(A)")(model)
    return libsbml.writeSBMLToString(model.document)


def chain(text):
    """Rules that each name the one before twice: 2^40 nodes."""
    model = decay()
    model.rule("assignment", "m", "A")
    for i in range(40):
        model.parameter(f"r{i}", constant=False)
        before = f"r{i - 1}" if i else "m"
        model.rule("assignment", f"r{i}", f"sin({before}) * cos({before} + 1)")
    law("r39")(model)
    return libsbml.writeSBMLToString(model.document)


ATTACKS = {
    "entities": (laughs, "declares a document type, which SBML has not"),
    "files": (outside, "declares a document type, which SBML has not"),
    "depth of elements": (nested(1000), "nests deeper than 300 levels"),
    "depth of formulas": (nested(120), "nests deeper than 100 levels"),
    "functions": (bomb, "more than"),
    "rules": (chain, "more than"),
    "no XML": (lambda text: "hello", "is not XML in UTF-8"),
    "another encoding": (lambda text: text.replace("k", "\xe9", 1).encode("latin-1"), "is not XML in UTF-8"),
    "half a file": (lambda text: text[: len(text) // 2], "is not XML in UTF-8"),
    "another document": (lambda text: "<html/>", "is not valid SBML"),
    "unknown species": (
        lambda text: text.replace('species="A"', 'species="Z"'),
        "the species `Z` of `loss` does not exist",
    ),
}


@pytest.mark.timeout(30)
@pytest.mark.parametrize(("attack", "text"), ATTACKS.values(), ids=ATTACKS)
def test_files_that_serve_to_harm_are_refused(attack, text, tmp_path):
    with pytest.raises(DataError) as caught:
        read(attack(honest()), tmp_path)
    assert text in str(caught.value)


def test_a_formula_of_fifty_levels_is_read(tmp_path):
    assert rates(read(nested(50)(honest()), tmp_path)) == {"A": -0.5}
