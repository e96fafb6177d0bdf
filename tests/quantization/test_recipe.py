"""A recipe is a value: equal, hashable, and the same after a trip through a file."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fewbits.errors import InputError
from fewbits.numerics import METHODS
from fewbits.quantization.corrections import BIAS, BIAS_MEASURED, CORRECTIONS
from fewbits.quantization.recipe import AUTO, Recipe, Rule, corrections

# All text but lone surrogates, which are no characters and stand in no file.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
recipes = st.builds(
    Recipe,
    name=texts,
    method=st.sampled_from(["auto", *METHODS]),
    rules=st.lists(st.builds(Rule, texts, st.sampled_from(["int8", "float"])), max_size=4).map(tuple),
    corrections=st.lists(st.sampled_from([AUTO, *CORRECTIONS]), unique=True)
    .map(tuple)
    .filter(lambda names: not {BIAS, BIAS_MEASURED} <= set(names)),
    weight_bits=st.sampled_from([7, 8]),
)


def back(recipe: Recipe) -> Recipe:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recipe.toml"
        path.write_text(recipe.to_toml(), encoding="utf-8", newline="")
        return Recipe.from_toml(path)


@given(recipes)
@example(Recipe(name='quotes " and \\ and\nlines\t\x7f'))
@example(Recipe(rules=(Rule("\U000e0001 beyond four digits \U000f0000", "float"),)))
def test_a_recipe_survives_its_file(recipe: Recipe) -> None:
    again = back(recipe)
    assert again == recipe
    assert hash(again) == hash(recipe)
    assert again.fingerprint() == recipe.fingerprint()


def test_the_fingerprint_changes_with_every_part() -> None:
    made = {
        Recipe(),
        Recipe(name="other"),
        Recipe(method="mse"),
        Recipe(rules=(Rule("*", "float"),)),
        Recipe(rules=(Rule("?", "int8"),)),
        Recipe(corrections=("bias",)),
        Recipe(weight_bits=7),
    }
    assert len(made) == len({recipe.fingerprint() for recipe in made}) == 7


def test_a_file_a_person_wrote_may_leave_things_out(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text('[[rules]]\nglob = "*"\nchoice = "int8"\n[[rules]]\nglob = "/head/*"\nchoice = "float"\n')
    assert Recipe.from_toml(path) == Recipe(rules=(Rule("*", "int8"), Rule("/head/*", "float")))


@pytest.mark.parametrize(
    "text",
    [
        "name = ",
        'nmae = "typo"',
        'name = "twice"\nname = "twice"',
        "name = 7",
        "method = 3",
        'method = "best"',
        'weight_bits = "8"',
        "weight_bits = 5",
        'corrections = "bias"',
        "corrections = [1]",
        'corrections = ["best"]',
        'corrections = ["auto", "Bias"]',
        "rules = 5",
        'rules = ["*"]',
        '[[rules]]\nglob = "*"',
        '[[rules]]\nglob = "*"\nchoice = "int4"',
        '[[rules]]\nglob = 5\nchoice = "int8"',
        '[[rules]]\nglob = "*"\nchoice = "int8"\nextra = 1',
    ],
)
def test_what_is_no_recipe_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        Recipe.from_toml(path)
    assert caught.value.where == str(path)


def test_a_missing_or_binary_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for name in ("missing", "binary", "."):
        with pytest.raises(InputError):
            Recipe.from_toml(tmp_path / name)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("none", ()),
        ("auto", ("auto",)),
        ("bias", ("bias",)),
        ("auto,rounding", ("auto", "rounding")),
        ("rounding, bias-measured", ("rounding", "bias-measured")),
        ("equalize,rounding,bias", ("equalize", "rounding", "bias")),
        ("bias,bias", ("bias",)),
    ],
)
def test_corrections_as_the_command_line_names_them(text: str, names: tuple[str, ...]) -> None:
    assert corrections(text) == names
    assert back(Recipe(corrections=names)).corrections == names


@pytest.mark.parametrize("text", ["best", "auto,best", "bias;rounding", "", "bias,", "none,bias", "Bias"])
def test_unknown_corrections_are_refused_with_the_list(text: str) -> None:
    with pytest.raises(
        InputError, match=r"unknown correction.*auto, equalize, rounding, bias, bias-measured"
    ) as caught:
        corrections(text)
    assert caught.value.where == "--correct"


@pytest.mark.parametrize("text", ["bias,bias-measured", "bias-measured,auto,bias"])
def test_the_bias_is_not_corrected_twice(text: str) -> None:
    with pytest.raises(InputError, match="bias and bias-measured correct the same thing"):
        corrections(text)
    with pytest.raises(InputError, match="bias and bias-measured correct the same"):
        back(Recipe(corrections=tuple(text.split(","))))


@pytest.mark.parametrize(
    ("names", "equalize", "rounding", "bias", "measured"),
    [
        ((), False, False, False, False),
        (("auto",), None, False, None, False),
        (("auto", "rounding"), None, True, None, False),
        (("auto", "equalize"), True, False, None, False),
        (("auto", "bias"), None, False, True, False),
        (("auto", "bias-measured"), None, False, False, True),
        (("rounding", "bias"), False, True, True, False),
        (("equalize",), True, False, False, False),
    ],
)
def test_what_is_wanted_what_is_not_and_what_is_open(
    names: tuple[str, ...], equalize: bool | None, rounding: bool, bias: bool | None, measured: bool
) -> None:
    """Auto leaves open what costs next to nothing; what takes samples through the model is made where it is named."""
    recipe = Recipe(method="mse", corrections=names)
    assert tuple(map(recipe.wants, CORRECTIONS)) == (equalize, rounding, bias, measured)
    assert recipe.undecided == ("auto" in names)
    assert recipe.needs_samples == ("auto" in names or rounding or measured)
    assert replace(recipe, method="auto").undecided
    assert replace(recipe, method="auto").needs_samples
