"""YAML that a user writes: nothing in it is lost without a word, and nothing in it takes for ever."""

from __future__ import annotations

import pytest

from ablkit.errors import UserError
from ablkit.runs.parameters import yaml_file
from ablkit.sweep import definition

TEN = "[" + ", ".join(map(str, range(10))) + "]"
BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]\n" for level in range(1, 10)
)
CHAIN = "a0: &a0 [1]\n" + "".join(f"a{level}: &a{level} [*a{level - 1}]\n" for level in range(1, 3_000))
MANY = ["seed", "target", "train_size", "monitor_images", "batch_size", "isolation_epochs", "finetune_epochs"]
MANY += ["finetune_drop_epoch", "unlearn_epochs", "crop_padding", "cutout_length", "attack"]

YAML = {
    "a name twice": ("seed: 1\ngamma: 0.5\nseed: 2", "line 3: 'seed' stands in line 1 already"),
    "twice in one line": ("{seed: 1, seed: 2}", "line 1: 'seed' stands in line 1 already"),
    "twice in quotes": ("seed: 1\n'seed': 2", "line 2: 'seed' stands in line 1 already"),
    "twice, deep": ("grid:\n  a: {b: 1,\n      b: 2}", "line 3: 'b' stands in line 2 already"),
    "a block twice": ("params: {a: 1}\ngrid: {}\nparams: {b: 1}", "line 3: 'params' stands in line 1 already"),
    "a bomb of aliases": (BOMB, "more than 20,000 values, with the aliases written out"),
    "a chain of aliases": (CHAIN, "nested more than 20 deep"),
    "an alias in itself": ("a: &a [*a]", "alias 'a' stands for what it is part of"),
    "deep nesting": ("a: " + "[" * 5_000, "nested more than 20 deep"),
    "deep mappings": ("".join(f"{' ' * depth}a:\n" for depth in range(300)), "nested more than 20 deep"),
    "null as a name": ("null: 1", "names are texts, and 'null' is none"),
    "a number as a name": ("1: 2", "names are texts, and '1' is none"),
    "a list as a name": ("? [a, b]\n: 1", "names are texts, and a sequence is none"),
    "a Python object": ("a: !!python/object/apply:os.system [ls]", "kind 'python/object/apply:os.system'"),
    "a tag": ("a: !mine x", "'x' is of the kind '!mine'"),
    "a date": ("a: 2024-01-01", "'2024-01-01' is of the kind 'timestamp'"),
    "no date": ("a: 2024-99-99", "'2024-99-99' is of the kind 'timestamp'"),
    "binary": ("a: !!binary aGk=", "'aGk=' is of the kind 'binary'"),
    "octal": ("seed: 010", "'010' is no plain decimal number"),
    "base sixty": ("seed: 1:30", "'1:30' is no plain decimal number"),
    "5,000 digits": ("seed: " + "9" * 5_000, "is no value of its kind"),
    "no number": ("seed: !!float x", "'x' is no value of its kind"),
    "two documents": ("a: 1\n---\nb: 2", "expected a single document"),
    "no YAML": ("a: [", "cannot be read as YAML"),
    "a control character": ("a: \x01", "cannot be read as YAML"),
    "an unknown alias": (f"a: *{'x' * 3_000}", "found undefined alias"),
    "nothing": ("", "holds no names with values"),
    "a list": ("- 1", "holds no names with values"),
    "a megabyte": ("a: " + "x" * 1_000_000, "has more than 1,000,000 bytes"),
}


@pytest.mark.parametrize("kind", YAML)
def test_yaml_that_would_lose_something_or_never_end_is_refused_with_its_line(tmp_path, kind):
    text, message = YAML[kind]
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(UserError) as error:
        yaml_file.read(tmp_path / "x.yaml")
    assert message in str(error.value)
    assert len(str(error.value)) < 400 and "\n" not in str(error.value)


def test_other_yaml_is_read_as_it_stands(tmp_path):
    text = "\ufeffbase: &base {a: 1, b: [x, 'y', 1.5, true, null]}\nown: {<<: *base, a: 2}\ntwice: [*base, *base]\n"
    (tmp_path / "x.yaml").write_text(text, encoding="utf-8")
    base = {"a": 1, "b": ["x", "y", 1.5, True, None]}
    assert yaml_file.read(tmp_path / "x.yaml") == {"base": base, "own": {**base, "a": 2}, "twice": [base, base]}


SWEEPS = {
    "in params and grid": ("params: {seed: 5}\ngrid: {seed: [0, 1]}", "'seed' stands in params and in grid"),
    "in params and each case": ("params: {seed: 5}\ncases: [{seed: 0}, {seed: 1}]", "in params and in each case"),
    "in grid and a case": ("grid: {seed: [0, 1]}\ncases: [{}, {seed: 2}]", "stands in grid and in a case"),
    "10^12 runs": (f"grid: {{{', '.join(f'{name}: {TEN}' for name in MANY)}}}", "asks for 1000000000000 runs"),
    "a number for params": ("params: 0", "params must be a mapping"),
    "an empty list of values": ("grid: {seed: []}", "must be a list of values"),
    "a case that is none": ("cases: [null]", "each case must map names to values"),
    "an unknown part, long": (f"{'x' * 500}: 1", "is no part of a sweep"),
    "a list of presets": ("preset: [smoke]", "preset must be a name"),
}


@pytest.mark.parametrize("kind", SWEEPS)
def test_a_sweep_that_would_lose_a_value_or_never_end_is_refused(tmp_path, kind):
    text, message = SWEEPS[kind]
    (tmp_path / "x.yaml").write_text(f"notebook: run\n{text}\n")
    with pytest.raises(UserError) as error:
        definition.read(tmp_path / "x.yaml")
    assert message in str(error.value)
    assert len(str(error.value)) < 400 and "\n" not in str(error.value)


def test_a_case_may_set_what_params_has_for_the_others(tmp_path):
    (tmp_path / "x.yaml").write_text("notebook: run\nparams: {seed: 5}\ncases: [{gamma: 0.4}, {seed: 6}]\n")
    assert [(job.parameters.seed, job.parameters.gamma) for job in definition.read(tmp_path / "x.yaml")] == [
        (5, 0.4),
        (6, 0.5),
    ]


def test_a_hundred_mistakes_are_twenty_lines_and_their_number(tmp_path):
    names = ", ".join(f"name{number}: 1" for number in range(100))
    (tmp_path / "x.yaml").write_text(f"notebook: run\nparams: {{{names}}}\n")
    with pytest.raises(UserError) as error:
        definition.read(tmp_path / "x.yaml")
    lines = str(error.value).splitlines()
    assert len(lines) == 21 and lines[-1].endswith("and 80 more mistakes")
