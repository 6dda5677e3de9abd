"""Data of unknown trust: the verdict on a set that nobody has marked, its page, its table, and the model handed on."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import TOY_RECIPE, refused, toy
from pets import pets

from ablkit import attacks, exclusion, models, training
from ablkit.cleaning import model_card, table, verdict
from ablkit.cli import main
from ablkit.data import Images, pictures
from ablkit.exclusion import rule, suspects
from ablkit.report import your_data
from ablkit.report.findings import your_data as words
from ablkit.runs.parameters import changed, check
from ablkit.training.isolation import isolated_count

RECIPE = replace(TOY_RECIPE, average_decay=0.95, isolation_rate=0.05)
ENV = {"ablkit": "1", "torch": "2", "started": "2026-01-01T00:00:00"}


def cleaned(train: Images, test: Images, **settings: object) -> tuple[training.Trained, verdict.Verdict]:
    kind = rule.Settings(**{"least_images": 100} | settings)  # toy sets are small
    trained = exclusion.exclude(train, RECIPE, kind, device="cpu", precision="fp32", report=None)
    return trained, verdict.judge(trained, train, test, "fp32")


@pytest.fixture(scope="module")
def poisoned():
    """A poisoned set whose test part comes from the same hands, which images of both are poisoned, and the verdict."""
    train, test = attacks.poison(toy(2000, 1)), attacks.poison(toy(500, 2))
    return train.is_poisoned, test.is_poisoned, *cleaned(train.data, test.data)


@pytest.fixture(scope="module")
def clean():
    return cleaned(toy(2000, 1), toy(500, 2))


def test_the_poison_of_both_splits_is_suspected_without_being_told_of(poisoned):
    in_train, in_test, _, found = poisoned
    assert found.classes == [0]
    assert found.train.is_suspected[in_train].mean() > 0.95
    assert found.test.is_suspected[in_test].mean() > 0.9
    assert found.train.is_suspected[~in_train].mean() < 0.01
    assert found.test.is_suspected[~in_test].mean() < 0.02
    own = found.train.data.labels == 0
    low, high = (found.train.suspicion[own & (in_train == which)].mean() for which in (False, True))
    assert low == pytest.approx(0, abs=0.15) and high == pytest.approx(1, abs=0.15)
    values = found.numbers()
    assert values["label_agreement_of_suspects"] < values["label_agreement_beside_suspects"] / 2
    assert values["suspected_test_images"] == found.test.is_suspected.sum()
    # The twin: with the poison of the test set counted in, the accuracy of the first model looks better than it is.
    everything = np.ones(500, bool)
    assert found.test.accuracy(found.test.first, everything) > values["clean_accuracy_before"]


def test_a_class_that_the_second_look_finds_is_judged_by_what_that_model_sees(monkeypatch, poisoned):
    in_train, in_test, _, _ = poisoned
    find = suspects.find

    def blind_at_first(*given: object) -> suspects.Suspects:
        found, is_second = find(*given), given[7] == 2
        return found if is_second else found.of(np.empty(0, np.int64), given[2])

    monkeypatch.setattr(suspects, "find", blind_at_first)
    sets = attacks.poison(toy(2000, 1)).data, attacks.poison(toy(500, 2)).data
    trained, found = cleaned(*sets, least_separation_at_end=5.0)
    assert found.classes == [0] and found.found.looks[0] == 2
    assert found.train.is_suspected[in_train].mean() > 0.95 and found.test.is_suspected[in_test].mean() > 0.9
    (table,) = (block for block in your_data.page(found, found.numbers()).blocks if block.block == "table")
    at_first, at_end = (found.found.after_phase_1[0], found.found.at_end[0])
    assert table.rows[0][2:4] == (f"{at_first:.1f}", f"{at_end:.1f}") and at_first != at_end
    # The twin: the groups that the second look found, in what the first model saw, are not the same.
    other = verdict.judge(replace(trained, looked_at=trained.looked_at[::-1]), *sets, "fp32")
    assert not np.array_equal(other.test.suspicion, found.test.suspicion, equal_nan=True)


def test_test_images_of_each_of_several_triggers_are_suspected():
    train, test = (attacks.poison(toy(*size), triggers=5, rate=0.2) for size in ((2000, 1), (500, 2)))
    trained, found = cleaned(train.data, test.data)
    assert found.classes == [0] and len(found.found.cuts[0]) > 1
    assert found.test.is_suspected[test.is_poisoned].mean() > 0.95
    assert not found.test.is_suspected[~test.is_poisoned].any()
    assert found.train.suspicion[found.train.is_suspected].min() > 0.5
    # The twin: the first cut alone knows one trigger.
    first = tuple(cuts[:1] for cuts in found.found.cuts)
    alone = verdict.judge(replace(trained, suspects=replace(found.found, cuts=first)), train.data, test.data, "fp32")
    assert alone.test.is_suspected[test.is_poisoned].mean() < 0.5
    assert alone.train.suspicion[found.train.is_suspected].min() < 0.5


def text_of(found: verdict.Verdict) -> str:
    page = your_data.page(found, found.numbers())
    return " ".join(block.markdown for block in page.blocks if block.block == "text")


def test_only_of_a_set_that_may_be_mirrored_the_page_names_the_option(clean):
    _, found = clean
    signs = replace(found, train=replace(found.train, data=replace(found.train.data, mirrors=False)))
    assert "`-p flip false`" in text_of(found) and "`-p flip false`" not in text_of(signs)
    assert "`-p flip false`" not in words.next_steps(found, flip=False)


def test_a_clean_set_shows_no_sign_of_a_backdoor(clean):
    _, found = clean
    assert found.classes == [] and not found.train.is_suspected.any() and not found.test.is_suspected.any()
    assert words.of_verdict(found) == (
        "**No sign of a backdoor.** In none of the 10 classes does a group of images stand out."
    )
    some, none = (replace(found, found=replace(found.found, judged=np.arange(10) < number)) for number in (4, 0))
    said = words.of_verdict(some)
    assert said == "**No sign of a backdoor in the 4 of 10 classes that were judged.** The others may hold one."
    assert "Until then trust the model no more" in text_of(some) and "Until then" not in text_of(found)
    assert words.of_verdict(none).startswith("**No verdict.**")
    said = text_of(found)
    assert "cannot mean: a proof" in said and "%" in said and "this says nothing" not in said
    # Where no class was judged nothing is said that comforts, and what to do.
    said = text_of(none)
    assert "mean: " not in said and "no class was judged, this says nothing about the set" in said
    assert "Bring more images of each class" in said and "200 training images or more" in said
    (table,) = (block for block in your_data.page(found, found.numbers()).blocks if block.block == "table")
    usual = rule.Settings()
    limits = f"{usual.least_separation:g} or more, or {usual.least_separation_at_end:g} at the end"  # of both looks
    assert f"{limits}, and a valley of at most {usual.most_valley:g}" in table.note
    assert "at the end" in table.columns
    assert np.isnan(found.numbers()["label_agreement_of_suspects"])


def test_two_groups_that_are_not_taken_for_poison_are_no_all_clear(clean, poisoned):
    def table_of(found: verdict.Verdict):
        return next(block for block in your_data.page(found, found.numbers()).blocks if block.block == "table")

    _, found = clean
    assert not found.found.unclear.any() and found.unclear() == []
    unclear = replace(found, found=replace(found.found, unclear=np.arange(10) == 3))
    assert words.of_verdict(unclear).startswith("**No class is suspected, but look at d.** Two groups of images lie")
    assert "No sign" not in words.of_verdict(unclear) and "Until then trust the model no more" in text_of(unclear)
    assert your_data.compared(unclear)[0] == 3
    unjudged = replace(unclear, found=replace(unclear.found, judged=np.arange(10) > 0))
    assert [row[5].markdown for row in table_of(unjudged).rows[:4]] == ["not judged", "0", "0", "unclear"]
    # Beside a suspected class it is a warning.
    found = poisoned[3]
    both = replace(found, found=replace(found.found, unclear=np.arange(10) == 3))
    assert "two groups lie apart in d, too" in words.warnings(both)[1] and len(words.warnings(found)) == 1


def test_a_rest_that_is_too_small_to_be_judged_again_is_told(poisoned):
    found = poisoned[3]
    assert not found.found.cut_short.any()
    short = replace(found, found=replace(found.found, cut_short=np.arange(10) == 0))
    left = int(((found.train.data.labels == 0) & ~found.train.is_suspected).sum())
    told = f"{left} images of class a are left beside its suspects, too few to be judged again: a second trigger"
    assert words.warnings(short)[1].startswith(told)
    # The model may hold what was not judged: it is not recommended without a word.
    later = "only once what is said at the top is cleared up"
    assert later in words.next_steps(short) and later not in words.next_steps(found)
    assert "- Use the model: " in words.next_steps(found) and "- Use the model: " not in words.next_steps(short)


def test_copies_of_one_picture_are_counted(poisoned):
    found = poisoned[3]
    data = found.train.data
    images = data.images.copy()
    images[np.flatnonzero(data.labels == 4)[:30]] = images[0]
    many = replace(found, train=replace(found.train, data=replace(data, images=images)))
    assert words.warnings(many)[1] == "30 training images of class e are one and the same picture."
    assert len(words.warnings(found)) == 1  # the twin


def test_what_is_left_of_a_class_is_shown_beside_its_suspects(poisoned, clean):
    found = poisoned[3]
    page = your_data.page(found, found.numbers())
    (figure,) = [block for block in page.blocks if block.block == "figure" and block.name == "left-0"]
    assert b"<svg" in figure.svg and "the verdict is the wrong way round" in figure.caption
    chosen = verdict.what_is_left(found, 0, 16)
    assert len(set(chosen)) == 16 and not found.train.is_suspected[chosen].any()
    assert (found.train.data.labels[chosen] == 0).all()
    # The twin: where all images of a class are suspected, none is left.
    everything = replace(found, train=replace(found.train, is_suspected=np.ones(2000, bool)))
    assert not len(verdict.what_is_left(everything, 0, 16))
    assert not any(
        block.name == "left-0"
        for block in your_data.page(everything, found.numbers()).blocks
        if block.block == "figure"
    )


def test_labels_are_judged_by_images_that_the_model_has_not_seen(poisoned):
    """What it was trained on it knows by heart: held against that, images of the class itself would look wrong."""
    found = poisoned[3]
    labels = found.test.data.labels
    weak = labels.copy()
    weak[np.flatnonzero((labels == 0) & ~found.test.is_suspected)] = 1  # it takes no test image of the class for it
    other = replace(found, test=replace(found.test, last=weak))
    assert "labels look right" in words.of_labels(other) and "0.0 % of the test images of the class" in words.of_labels(
        other
    )
    assert "labels look wrong" in words.of_labels(found)  # the twin
    none = replace(found, test=replace(found.test, is_suspected=np.ones(500, bool)))
    assert "labels look wrong" in words.of_labels(none) and "test images of the class" not in words.of_labels(none)


def test_the_words_follow_the_numbers(poisoned, clean):
    _, _, _, found = poisoned
    count = int(found.train.is_suspected.sum())
    said = words.of_verdict(found)
    assert f"Class a looks poisoned: {count} of its {(found.train.data.labels == 0).sum()} images" in said
    assert "labels look wrong" in words.of_labels(found)
    right = replace(found, train=replace(found.train, last=found.train.data.labels))  # a clean-label attack
    assert "labels look right" in words.of_labels(right)
    assert "Class a may be poisoned" in words.of_verdict(right)
    both = replace(found, found=replace(found.found, classes=np.array([0, 3])))
    assert "2 classes look poisoned: a (" in words.of_verdict(both) and "es" in words.of_labels(both)
    assert "2,000 training images" in words.warnings(found)[0]
    assert words.warnings(found)[1:] == []
    few = replace(found, found=replace(found.found, judged=np.arange(10) > 1))
    assert words.warnings(few)[1] == "Too few images to be judged: 2 of 10 classes (a and b)."
    all_join = replace(found, test=replace(found.test, is_suspected=found.test.data.labels == 0))
    assert "Nearly all test images of class a join its suspects" in words.warnings(all_join)[1]
    at_end = np.array([20.0, *[np.nan] * 8, 3.25])
    late = replace(found, found=replace(found.found, at_end=at_end, looks=np.array([2, *[1] * 9])))
    assert "(at the end)" in words.of_separations(late) and "(at the end)" not in words.of_separations(found)
    assert words.of_separations(late).endswith("trained to the end the highest of the others was 3.2.")
    found = replace(
        found, found=replace(found.found, after_phase_1=np.empty(0), at_end=np.empty(0))
    )  # without a second look
    alone = replace(found, found=replace(found.found, separations=np.array([12.0, *[np.nan] * 9])))
    assert words.of_separations(alone).endswith("a 12.0. In no other class are there two groups.")
    apart = replace(found, found=replace(found.found, separations=np.linspace(4, 3, 10)))
    assert words.of_separations(apart).endswith("a 4.0 and the next class, b 3.9.")
    nowhere = replace(apart, found=replace(apart.found, classes=np.array([], np.int64)))
    assert words.of_separations(nowhere).endswith("the highest, a 4.0.")
    assert words.of_separations(clean[1])[-1] == "."


def test_what_the_suspects_have_in_common_is_the_trigger(poisoned):
    _, _, _, found = poisoned
    difference = np.abs(verdict.mean_difference(found, 0)).max(axis=2)
    corner = difference[-3:, -3:].mean()
    assert corner > 5 * np.median(difference)
    assert corner > 5 * difference[:3, :3].mean()  # the twin: another corner
    assert found.train.is_suspected[verdict.most_suspicious(found, 0, 7)].all()
    assert len(verdict.most_suspicious(found, 0, 7)) == 7 and not len(verdict.most_suspicious(found, 3, 7))


def test_the_table_has_every_image(poisoned, tmp_path):
    _, _, _, found = poisoned
    rows = table.table(found, None)
    assert list(rows.columns) == list(table.COLUMNS)
    assert (rows["split"] == "train").sum() == 2000 and (rows["split"] == "test").sum() == 500
    assert rows["is_suspected"].sum() == found.train.is_suspected.sum() + found.test.is_suspected.sum()
    assert (rows["label"][:2000] == np.array(list("abcdefghij"))[found.train.data.labels]).all()
    files = table.Files([f"a/{n}\n.png" for n in range(2000)], [f"\udcff{n}.png" for n in range(500)])
    table.write(tmp_path / "images.csv", table.table(found, files))
    again = table.pd.read_csv(tmp_path / "images.csv")
    assert len(again) == 2500 and again["file"][7] == "a/7\n.png" and again["file"][2499] == "\\udcff499.png"


def test_no_name_in_the_table_is_a_formula(poisoned, tmp_path):
    _, _, _, found = poisoned
    names = ["=cmd|' /C calc'!A0/1.png", "@a/1.png", "+b/1.png", "-c/1.png", "\tx/1.png", "a=b/1.png", "-1", "'d/1.png"]
    rows = table.table(found, None).iloc[: len(names)].assign(file=names, label=names, taken_for=names)
    table.write(tmp_path / "images.csv", rows)
    again = table.pd.read_csv(tmp_path / "images.csv", dtype=str)
    for column in ("file", "label", "taken_for"):
        assert list(again[column]) == [*(f"'{name}" for name in names[:5]), *names[5:]]


def test_the_page_shows_figures_and_no_network(poisoned, tmp_path):
    _, _, _, found = poisoned
    your_data.write(tmp_path, your_data.page(found, found.numbers()))
    html = (tmp_path / "index.html").read_text()
    for name in ("groups", "suspects-0", "difference-0"):
        assert (tmp_path / f"figures/{name}.svg").stat().st_size < 600_000
        assert f"figures/{name}.svg" in html
    assert "http" not in html.replace("http-equiv", "")
    assert "**" in (tmp_path / "verdict.md").read_text()
    assert "looks poisoned" in your_data.told(tmp_path) and "**" not in your_data.told(tmp_path)


def test_the_model_is_handed_on_with_all_that_it_needs(poisoned, tmp_path):
    _, _, trained, found = poisoned
    test = found.test.data
    made = model_card.write(tmp_path, trained.model, RECIPE.model, False, test, "abc", found.numbers(), ENV)
    for path in (tmp_path, tmp_path / "model.json", tmp_path / "model.safetensors"):
        network, card = model_card.read(path)
        assert card == made and card.height == 16 and card.classes == list("abcdefghij")
    shares = model_card.probabilities(network, test.images)
    assert np.array_equal(shares.argmax(axis=1), found.test.last)
    assert shares.sum(axis=1) == pytest.approx(1, abs=1e-5)


def test_a_model_that_is_damaged_or_another_is_refused(poisoned, tmp_path):
    trained, found = poisoned[2], poisoned[3]
    model_card.write(tmp_path, trained.model, RECIPE.model, False, found.test.data, "abc", {}, ENV)
    card, weights = (tmp_path / name for name in ("model.json", "model.safetensors"))
    text, content = card.read_text(), weights.read_bytes()
    for wrong, message in {
        "{}": "is damaged (model: field required)",
        "[]": "holds no object",
        text.replace('"wrn-10-1"', '"wrn-16-1"'): "model.json was changed",
        text.replace('"normalise": false', '"normalise": true'): "another network than that of model.safetensors",
        text.replace('"j"', '"j", "k"'): "undo what was changed in model, normalise or classes",
        text.replace('"wrn-10-1"', '"nothing"'): "is no model",
        text.replace('"height": 16', '"height": 0'): "is damaged (height",
        text.replace(made := text.split('"sha256": "')[1][:8], "00000000"): "or not the file that model.json describes",
        text.replace('"a"', '"b"'): "comes twice",
    }.items():
        card.write_text(wrong)
        assert message in refused(model_card.read, tmp_path), made
    card.write_text(text)
    model_card.read(tmp_path)  # the twin
    weights.write_bytes(content[:-9])
    assert "is damaged" in refused(model_card.read, tmp_path)
    cut = hashlib.sha256(content[:-9]).hexdigest()
    card.write_text(text.replace(hashlib.sha256(content).hexdigest(), cut))
    assert "is damaged (" in refused(model_card.read, tmp_path)  # what is no file of tensors is never read as one
    weights.unlink()
    assert "does not exist" in refused(model_card.read, tmp_path)


def test_a_network_that_a_card_names_is_built_only_where_the_weights_fit_it(tmp_path, monkeypatch, capsys):
    def built(*arguments: object, build=models.build, **options: object) -> torch.nn.Module:
        places.append(torch.empty(0).device.type)
        return build(*arguments, **options)

    images = toy(20, 0)
    model_card.write(tmp_path, models.build("wrn-10-1", 10, normalise=True), "wrn-10-1", True, images, "abc", {}, ENV)
    monkeypatch.setattr(models, "build", built)
    places: list[str] = []
    card = tmp_path / "model.json"
    text = card.read_text()
    card.write_text(text.replace('"wrn-10-1"', '"wrn-250-50"'))  # 37 GB of weights
    assert main(["predict", str(tmp_path), "x.png"]) == 2
    said = capsys.readouterr().err
    assert "tensor" in said and said.count("\n") == 1 and places == ["meta"]
    # The twin: the network that the weights are of is built, with its weights on the CPU.
    card.write_text(text)
    network, _ = model_card.read(tmp_path)
    assert places == ["meta", "meta", "cpu"]
    assert {value.device.type for value in network.state_dict().values()} == {"cpu"}
    assert np.isfinite(model_card.probabilities(network, images.images)).all()


@pytest.fixture
def photos(roots, tmp_path):
    """A folder of images that somebody else made; the roots of data and runs are new."""
    return pets(tmp_path / "photos", 40, shape=(16, 16, 3))


def test_a_folder_is_cleaned_and_written_again_and_the_model_predicts(photos, tmp_path, capfd):
    options = ["--preset", "smoke", "-p", "isolation_epochs", "1", "-p", "finetune_epochs", "1", "-p", "threads", "1"]
    options += ["-p", "train_size", "60"]  # of 64: the table and what is written name those that were drawn
    command = ["clean", str(photos), *options, "--export", str(tmp_path / "cleaned")]
    assert main(command) == 0
    said = capfd.readouterr().out
    assert "Images were mirrored at random while training; " in said and "-p flip false." in said
    assert "No verdict" in said and "can mean:" not in said
    assert "0 of 2 classes" not in said and "60 training images and 16 test images" in said
    (card,) = tmp_path.rglob("model.json")
    rows = table.pd.read_csv(card.parent / "images.csv")
    names = sorted(rows["file"])
    assert len(set(names)) == 76 and names == sorted(path for path in names if (photos / path).is_file())
    assert (rows["label"] == rows["file"].str.split("/").str[0]).all()
    assert "4 images of photos were not looked at" in said
    written = {path.relative_to(tmp_path / "cleaned").as_posix() for path in (tmp_path / "cleaned").rglob("*.png")}
    assert written == set(names)
    first = photos / names[0]
    assert (tmp_path / "cleaned" / names[0]).read_bytes() == first.read_bytes()
    assert main(["predict", str(card.parent), str(first), str(first)]) == 0
    assert capfd.readouterr().out.count("%") == 2
    # One that cannot be read keeps no other one from being told.
    odd, unknown = tmp_path / "a\nb.png", tmp_path / "a.avif"
    odd.write_bytes(first.read_bytes())
    unknown.write_bytes(b"\0\0\0\x20ftypavif")
    assert main(["predict", str(card.parent), str(unknown), str(odd), str(tmp_path / "none.png")]) == 2
    told = capfd.readouterr()
    assert told.out.count("%") == told.out.count("\n") == 1 and "a\\nb.png: " in told.out
    assert told.err.count("\n") == 2 and "none.png is no image that can be read (No such file" in told.err
    assert f"a.avif is no image that can be read (no image); give a {model_card.FORMATS} file" in told.err
    assert sorted(re.findall(r"[A-Z]{3,}", model_card.FORMATS.upper())) == sorted(pictures._FORMATS)
    # Again, it is done; with another folder in its place it is not what was imported.
    assert main(["clean", str(photos), *options]) == 0
    assert "imported before" in capfd.readouterr().out
    first.unlink()
    assert main(["clean", str(photos), *options]) == 2
    assert "was made of other files" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["clean", "nowhere"], "no dataset"),
        (["clean", "{photos}/cat"], "no class folders with images"),
        (["clean", "{photos}", "-p", "model", "nothing"], "is no model"),
        (["clean", "{photos}", "-p", "dataset", "x"], "the first argument is the data set"),
        (["clean", "{photos}", "-p", "seed", "3"], "--seed draws the test set, too"),
        (["clean", "{photos}", "-p", "suspicion_settings", "least=1"], "setting of suspicion"),
        (["clean", "{photos}", "-p", "isolation_epochs", "0"], "isolation_epochs is 0"),
        (["clean", "{photos}", "--export", "{photos}"], "exists already"),
        (["clean", "{photos}", "--export", "{photos}/cleaned"], "which it would become a part of"),
        (["clean", "digits", "--size", "8"], "--size 8 has no meaning"),
        (["clean", "{photos}", "--size", "2"], "--size '2' must be"),
        (["clean", "digits", "--classes", "0,1"], "--classes 0,1 has no meaning"),
        (["clean", "{photos}", "--classes", "cat,cow"], "'cow' is no class folder of"),
        (["clean", "digits", "--name", "x"], "--name x has no meaning"),
        (["predict", "{photos}", "{photos}/cat/000.png"], "model.json does not exist"),
    ],
)
def test_mistakes_are_one_line_and_nothing_is_made(given, message, photos, tmp_path, capfd):
    there = {path.name for path in tmp_path.iterdir()}
    assert main([word.format(photos=photos) for word in given]) == 2
    said = capfd.readouterr().err
    assert message in said and said.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} <= there | {"data", "runs", "cache"}
    assert not list(tmp_path.rglob("meta.json")) and not list(tmp_path.rglob("params.json"))


def test_small_sets_are_trained_for_more_epochs():
    def epochs(images: int, **values: object) -> int:
        return check("your_data", changed("your_data", "quick", values)).recipe(images).isolation_epochs

    assert epochs(10_000) == 6 and epochs(50_000) == 6
    assert epochs(1_000) == 59  # 16 steps an epoch
    assert epochs(1_000, least_steps=0) == 6


@pytest.mark.parametrize("images", [2, 16, 49, 99, 100, 10_000])
def test_of_however_few_images_one_is_isolated(images):
    rate = check("your_data", changed("your_data", "quick", {})).recipe(images).isolation_rate
    assert isolated_count(images, rate) == max(1, images // 100)
