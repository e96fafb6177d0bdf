"""A recipe is a value: equal, hashable, and the same after a trip through a file."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fewbits.errors import InputError
from fewbits.numerics import METHODS
from fewbits.quantization.recipe import Recipe, Rule

# All text but lone surrogates, which are no characters and stand in no file.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
recipes = st.builds(
    Recipe,
    name=texts,
    method=st.sampled_from(["auto", *METHODS]),
    rules=st.lists(st.builds(Rule, texts, st.sampled_from(["int8", "float"])), max_size=4).map(tuple),
    corrections=st.sampled_from([(), ("auto",), ("bias",)]),
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
