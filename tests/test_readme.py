"""The code on the pages runs, and does what the pages say."""

import importlib.util
import pathlib
import re
import tomllib

import keras
import models
import numpy as np
import pages
import pytest

import keras_distill as kd

VIEWS = pages.block(pages.ROOT / "benchmarks" / "README.md", "example: views")
OPTUNA = pages.block(pages.ROOT / "examples" / "porting.md", "example: optuna")
# Run by processes of their own, in test_pod.py and test_ranks.py.
POD = "examples/from_a_laptop_to_a_pod.md"
README = [one for one in pages.EXAMPLES if one.page == "README.md"]


def run(block, names):
    exec(compile(block.text, f"{block.page}, {block.name}", "exec"), names)


def check_first(names, printed):
    """What it prints is what the page says, but for the backend's chance."""
    said = pages.block(pages.README, "output: first").text
    lines = zip(said.splitlines(), printed.splitlines(), strict=True)
    for expected, line in lines:
        assert line.split(":")[0] == expected.split(":")[0]
        assert percentage(line) == pytest.approx(percentage(expected), abs=5)
    teacher, alone, distilled = map(percentage, printed.splitlines())
    assert teacher > distilled > alone + 1
    assert type(keras.models.load_model("student.keras")) is keras.Sequential


def percentage(line):
    return float(re.search(r"([\d.]+)%", line)[1])


def check_unlabelled(names, printed):
    assert "soft_loss" in printed and "hard_loss" not in printed
    loaded = keras.models.load_model("distiller.keras")
    assert loaded.teacher is None


def check_cache(names, printed):
    assert len(names["cache"]) == len(names["x"])
    assert "soft_loss" in printed


def check_search(names, printed):
    assert type(names["best"]) is keras.Sequential


def check_bias(names, printed):
    x, blind = names["x_test"], names["blind"]
    before, after = blind.predict(x), names["mended"].predict(x)
    shift = after - before
    np.testing.assert_allclose(shift[:, 3], names["amount"][0], atol=1e-4)
    np.testing.assert_allclose(np.delete(shift, 3, axis=1), 0, atol=1e-4)
    accuracies = [float(number) for number in printed.split()]
    assert names["amount"][0] > 0 and accuracies[0] < accuracies[1]


def check_specialists(names, printed):
    assert len(names["specialists"]) == 3
    accuracy = float(re.findall(r"accuracy: ([\d.]+)", printed)[-1])
    alone = names["alone"].evaluate(
        names["x_test"], names["y_test"], return_dict=True
    )
    assert accuracy > alone["accuracy"]


CHECKS = {
    "example: first": check_first,
    "example: unlabelled": check_unlabelled,
    "example: cache": check_cache,
    "example: search": check_search,
    "example: bias": check_bias,
    "example: specialists": check_specialists,
}


@pytest.mark.filterwarnings("ignore:currentThread", "ignore:getName")
def test_examples_of_the_readme_run_from_top_to_bottom(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in README:
        run(block, names)
        CHECKS[block.name](names, capsys.readouterr().out)


@pytest.mark.skipif(
    not importlib.util.find_spec("tensorflow"), reason="it reads by tf.data"
)
def test_example_of_fixed_views_runs(tmp_path, monkeypatch):
    import tensorflow as tf

    monkeypatch.chdir(tmp_path)
    x = np.random.rand(6, 4, 4, 1).astype("float32")
    examples = tf.data.Dataset.from_tensor_slices((x, np.arange(6) % 3))
    layers = [keras.layers.Flatten(), keras.layers.Dense(3)]
    teacher = keras.Sequential([keras.Input((4, 4, 1)), *layers])
    names = {"tf": tf, "kd": kd, "teacher": teacher, "examples": examples}
    run(VIEWS, names)
    found = [element[0].inputs.numpy() for element in names["train"]]
    assert len(found) == 60
    assert len({view.tobytes() for view in found}) > 6


class Optuna:
    """What the example uses of Optuna, which the tests do without."""

    def create_study(self, direction):
        assert direction == "maximize"
        return self

    def optimize(self, objective, n_trials):
        self.scores = [objective(self) for _ in range(2)]

    def suggest_float(self, name, low, high, log=False):
        return (low * high) ** 0.5


def test_example_of_optuna_runs(tmp_path):
    x, y = models.data(16)
    cache = kd.TeacherCache.build(models.sequential(seed=2), (x, y), tmp_path)
    names = {"kd": kd, "x": x, "y": y, "cache": cache, "optuna": Optuna()}
    names |= {"new_student": models.sequential, "held_out": (x, y)}
    run(OPTUNA, names | {"labels_loss": models.CROSSENTROPY})
    assert len(names["optuna"].scores) == 2
    assert 0 <= names["optuna"].scores[0] <= 1


def test_every_example_is_run():
    run_here = {("README.md", name) for name in CHECKS}
    run_here |= {(one.page, one.name) for one in (VIEWS, OPTUNA)}
    pod = "train", "sharded", "parts", "joined", "ranks"
    run_here |= {(POD, f"example: {name}") for name in pod}
    assert {(one.page, one.name) for one in pages.EXAMPLES} == run_here


# What is to be pasted before and beside them.


def test_first_example_is_short_and_comes_first():
    assert README[0].name == "example: first"
    lines = README[0].text.splitlines()
    assert len(lines) <= 20
    assert max(map(len, lines)) <= 80


def test_the_line_above_the_first_example_installs_what_it_imports():
    install = pages.block(pages.README, "shell: install").text
    (extras,) = re.findall(r'^pip install -e "\.\[([\w,]+)\]"$', install, re.M)
    backend = re.search(r"^export KERAS_BACKEND=(\w+)$", install, re.M)[1]
    installed = {"keras_distill", *requirements(extras.split(","))}
    needed = set(re.findall(r"^(?:import|from) (\w+)", README[0].text, re.M))
    needed = {"scikit-learn" if one == "sklearn" else one for one in needed}
    assert needed | {backend} <= installed


def project():
    return tomllib.loads((pages.ROOT / "pyproject.toml").read_text())["project"]


def requirements(extras):
    """The distributions that some extras bring, and those of the package."""
    found, options = set(project()["dependencies"]), []
    for extra in extras:
        for one in project()["optional-dependencies"][extra]:
            inner = re.fullmatch(r"keras-distill\[([\w,]+)\]", one)
            options += inner[1].split(",") if inner else []
            found.add(one)
    names = {re.match(r"[\w-]+", one)[0] for one in found}
    return names | (requirements(options) if options else set())


@pytest.mark.parametrize("page", pages.PAGES, ids=pages.title)
def test_extras_that_a_page_installs_exist(page):
    for extras in re.findall(r'install -e\s*"\.\[([\w,]+)\]', page.read_text()):
        assert set(extras.split(",")) <= set(project()["optional-dependencies"])


@pytest.mark.parametrize("page", pages.PAGES, ids=pages.title)
def test_blocks_have_names_of_their_own(page):
    found = [one.name for one in pages.blocks(page)]
    assert all(found) and len(found) == len(set(found))
    assert page.read_text().count("```") == 2 * len(found)


def test_commands_are_where_they_are_looked_for():
    main = pages.block(pages.README, "main command").text
    script = re.search(r"python (examples/\w+\.py)\n$", main)[1]
    assert pathlib.Path(pages.ROOT, script).exists()
    test = pages.block(pages.README, "test command").text
    assert test.endswith(".venv/bin/tox run\n")
    text = pages.README.read_text()
    for name in ("main command", "test command"):
        after = text.split(f"<!-- {name} -->\n```sh\n")[1]
        assert re.match(r"python3\.11 .*\n```\n<!-- end -->\n", after)
