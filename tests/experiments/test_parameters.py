"""docs/parameters.md is current, and no field of any specification is missing from it."""

import ast
import dataclasses
import pathlib

import pytest

import sptrack as spt
from experiments import parameters
from sptrack.devices import presets

CLASSES = [cls for classes in parameters.SECTIONS.values() for cls in classes]
PACKAGE = pathlib.Path(spt.__file__).parent


def test_the_page_is_what_the_code_says():
    text = parameters.PAGE.read_text(encoding="utf-8")
    assert text == parameters.page(), "run: python -m experiments.parameters"


def test_every_specification_is_on_the_page():
    """Found by their decorator, `@spec`, in the source."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                names = [d.id for d in node.decorator_list if isinstance(d, ast.Name)]
                found |= {node.name} if "spec" in names else set()
    assert len(found) > 20
    assert found == {cls.__name__ for cls in CLASSES}


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_field_is_on_the_page_with_its_meaning_unit_and_source(cls):
    text = parameters.page()
    chapters = {part.split("`", 1)[0]: part for part in text.split("### `")[1:]}
    shown = "".join(chapters[base.__name__] for base in cls.__mro__ if base.__name__ in chapters)
    for field in dataclasses.fields(cls):
        (line,) = [row for row in shown.splitlines() if row.startswith(f"| `{field.name}` |")][:1]
        cells = [cell.strip() for cell in line.replace("\\|", "/").split("|")[1:-1]]
        assert len(cells) == 6 and cells[2] and cells[5], line
        if "low" in field.metadata:
            assert cells[3], f"{field.name} has no unit"
    assert parameters.source(cls), f"no source in the docstring of {cls.__module__}"


def test_presets_are_on_both_pages():
    text = parameters.page()
    explained = (parameters.PAGE.parent / "devices.md").read_text(encoding="utf-8")
    for name in presets.__all__:
        assert f"| `{name}` |" in text and f"`{name}`" in explained


def test_a_meaning_of_several_lines_and_names_is_read():
    class Example:
        """An example.

        Attributes:
          one, other: what they mean
            goes on here.
          last: another.

        Further text: not an attribute.
        """

    found = parameters.meanings(Example)
    assert found["one"] == found["other"] == "what they mean goes on here."
    assert found["last"] == "another." and len(found) == 3
