"""Which images a test runs on, decided without an engine: all tests of an image run on those built on it too."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from imagematrix.matrix.model import Image, Matrix
from tests.conftest import REPOSITORY
from tests.images.choice import Images, crossed, spread

pytest_plugins = ["pytester"]
ROOT, CHILD = "hypercorn", "hypercorn-fastapi"


def chain(image: Image) -> list[str]:
    return [ancestor.name for ancestor in image.lineage]


def test_what_holds_for_a_parent_is_run_on_every_variant_of_its_children(matrix: Matrix) -> None:
    for image in matrix.images:
        for ancestor in chain(image):
            found = [one for one in Images(ancestor).of(matrix.variants) if one.image == image]
            assert found == [one for one in matrix.variants if one.image == image]


def test_what_holds_for_a_child_is_not_asked_of_its_parent(matrix: Matrix) -> None:
    assert {one.image.name for one in Images(CHILD).of(matrix.variants)} == {CHILD}


def test_every_image_has_tests_of_its_own(matrix: Matrix) -> None:
    text = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    marked = set(re.findall(r'pytest\.mark\.images\("([^"]+)"', text))
    assert {image.name for image in matrix.images} <= marked


def test_an_os_and_extras_narrow_it(matrix: Matrix) -> None:
    some = Images(ROOT, os=["alpine"], extras=["h3", "uvloop"]).of(matrix.variants)
    assert some
    assert {one.os.name for one in some} == {"alpine"}
    assert all({"h3", "uvloop"} <= {extra.name for extra in one.extras} for one in some)
    left = [one for one in matrix.variants if one.os.name == "alpine" and one not in some]
    assert left
    assert not any({"h3", "uvloop"} <= {extra.name for extra in one.extras} for one in left)


def test_one_for_each_python_takes_oses_and_images_in_turn(matrix: Matrix) -> None:
    found = Images(ROOT, one_per="python").of(matrix.variants, full=False)
    assert [one.python for one in found] == list(matrix.pythons)
    assert {one.os for one in found} == set(matrix.oses)
    assert {one.image for one in found} == set(matrix.images)


def test_one_for_each_os_takes_the_newest_python(matrix: Matrix) -> None:
    found = Images(ROOT, one_per="os").of(matrix.variants, full=False)
    assert [one.os for one in found] == list(dict.fromkeys(one.os for one in matrix.variants))
    for one in found:
        assert one.python == [other.python for other in matrix.variants if other.os == one.os][-1]


def test_all_of_them_are_one_of_each_for_every_image(matrix: Matrix) -> None:
    found = Images(ROOT, one_per="python", at_most=3).of(matrix.variants, full=True)
    assert sorted((one.python.version, one.image.name) for one in found) == sorted(
        (python.version, image.name) for python in matrix.pythons for image in matrix.images
    )


def test_at_most_three_are_the_oldest_the_middle_and_the_newest() -> None:
    assert spread(list("abcdefg"), 3) == ["a", "d", "g"]
    assert spread(["a", "b"], 3) == ["a", "b"]


def test_at_most_one_is_the_oldest() -> None:
    assert spread(list("abcdefg"), 1) == ["a"]


def test_one_value_in_turn_or_every_one(matrix: Matrix) -> None:
    rows = [(one,) for one in matrix.variants[:3]]
    assert [row[1] for row in crossed(rows, lambda one: "ab", every=False)] == ["a", "b", "a"]
    assert [row[1] for row in crossed(rows, lambda one: "ab", every=True)] == ["a", "b"] * 3


WRONG = {
    "is missing": "def test(image): pass",
    "uses neither": '@pytest.mark.images("hypercorn")\ndef test(): pass',
    "image 'hypercron': did you mean hypercorn?": '@pytest.mark.images("hypercron")\ndef test(image): pass',
    "os 'windows'": '@pytest.mark.images("hypercorn", os=["windows"])\ndef test(image): pass',
    "extra 'http3'": '@pytest.mark.images("hypercorn", extras=["http3"])\ndef test(image): pass',
    "one_per 'image'": '@pytest.mark.images("hypercorn", one_per="image")\ndef test(image): pass',
    "unexpected keyword": '@pytest.mark.images("hypercorn", oses=["slim"])\ndef test(image): pass',
}


def test_a_wrong_marker_is_an_error(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    pytester.makepyfile(
        **{f"test_{number}": f"import pytest\n\n{text}\n" for number, text in enumerate(WRONG.values())}
    )
    done = pytester.runpytest_subprocess("-p", "tests.images.conftest", "--collect-only")
    done.assert_outcomes(errors=len(WRONG))
    for number, said in enumerate(WRONG):
        done.stdout.re_match_lines_random([rf"test_{number}\.py::test: its marker `images`: .*{re.escape(said)}.*"])
