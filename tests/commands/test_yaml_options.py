"""Options in YAML: texts whose anchors unfold into far more than they hold are refused before they are unfolded."""

import pytest
import yaml

from vaebss.commands.yaml_options import MAX_VALUES, load_options

LISTS = "a0: &a0 [1, 1, 1]\n" + "".join(f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 10)}]\n" for k in range(1, 9))
MERGED = "a0: &a0 {x: 1}\n" + "".join(f"a{k}: &a{k} {{<<: [{', '.join([f'*a{k - 1}'] * 10)}]}}\n" for k in range(1, 9))


@pytest.mark.parametrize(
    "text", [LISTS, MERGED, "a: &a [*a]", "a: &a {<<: *a}"], ids=["lists", "merged", "item", "own"]
)
def test_what_unfolds_into_too_much_is_refused(text):
    with pytest.raises(ValueError, match=f"^here unfolds into more than {MAX_VALUES} values$"):
        load_options(text, "here")


@pytest.mark.parametrize("text", ["", "3", "a: &a {b: [1, 2]}\nc: *a", "[" + ", ".join(["1"] * (MAX_VALUES - 1)) + "]"])
def test_other_texts_are_loaded_as_they_are(text):
    assert load_options(text, "here") == yaml.safe_load(text)


def test_an_error_of_the_text_itself_is_yamls():
    with pytest.raises(yaml.YAMLError):
        load_options("a: [", "here")
