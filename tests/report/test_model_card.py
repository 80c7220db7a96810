"""Model cards: valid metadata, the numbers of the run, nothing that a name could smuggle in."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import yaml
from compared_runs import LARGE, NOTE, SMALL, World, make_prune, make_train

from moenas.models.architecture import Architecture
from moenas.models.builder import build_model
from moenas.models.storage import read_card, save_model
from moenas.report.card.escape import escape
from moenas.report.card.writing import write_cards
from moenas.report.measures import MEASURES, percent
from moenas.runs import ModelFolder, RunFolder
from moenas.serialisation import read_json, write_json
from moenas.workflows.predict import predict_files
from moenas.workflows.report import report

SECTIONS = ["In short", "Intended use", "Out of scope", "Use", "Results", "Limits", "Training",
            "Licence", "Cite"]  # fmt: skip


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model of the smaller network."""
    path = tmp_path_factory.mktemp("model") / "checkpoint.safetensors"
    architecture = Architecture.parse(SMALL)
    model = build_model(architecture.base, architecture.experts, seed=0)
    save_model(path, model, image_size=96, threshold=0.4375, extra={"pruned_from": LARGE})
    return path


def with_model(folder: ModelFolder, checkpoint: Path) -> ModelFolder:
    shutil.copy(checkpoint, folder.checkpoint)
    return folder


@pytest.fixture(scope="session")
def searched(runs: Path, tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> RunFolder:
    """A search whose finalist XXS has the checkpoints of both seeds; not to be changed."""
    path = tmp_path_factory.mktemp("card") / "run"
    shutil.copytree(runs / "first", path)
    run = RunFolder(path)
    for folder in (run.finalist(SMALL, 1), run.finalist(SMALL, 2), run.pruned()):
        with_model(folder, checkpoint)
    return run


@pytest.fixture
def trained(tmp_path: Path, checkpoint: Path) -> RunFolder:
    run = make_train(tmp_path / "train", world=World(concepts=6))
    with_model(run.model(), checkpoint)
    return run


def parts(path: Path) -> tuple[dict, str]:
    text = path.read_text(encoding="utf-8")
    match = re.fullmatch(r"---\n(.*?)\n---\n\n(.*)", text, re.DOTALL)
    assert match
    return yaml.safe_load(match[1]), match[2]


def test_each_finalist_and_the_pruned_model_have_a_card(searched):
    cards, problems = write_cards(searched)
    folders = [searched.finalist(SMALL, 1), searched.finalist(SMALL, 2), searched.pruned()]
    assert cards == [folder.path / "README.md" for folder in folders]
    assert len(problems) == 2  # S has lost its checkpoints
    assert all(LARGE in line and "does not exist" in line for line in problems)
    assert not searched.finalist("mobilevitv2_050-e111111111", 1).card.exists()


def test_the_metadata_are_what_the_hub_reads(searched):
    hub = pytest.importorskip("huggingface_hub")
    write_cards(searched)
    path = searched.finalist(SMALL, 2).card
    card = hub.ModelCard.load(path)
    assert card.data.library_name == "moenas"
    assert card.data.pipeline_tag == "image-classification"
    assert card.data.model_name == "MoENAS-XXS"
    assert card.data.datasets == ["emoji-scenes"]
    assert card.data.license is None
    results = {result.metric_type: result for result in card.data.eval_results}
    assert {result.dataset_split for result in results.values()} == {"report"}
    record = next(
        model for model in read_json(searched.comparison)["models"] if model["name"] == "MoENAS-XXS"
    )
    for measure in set(record["report"]) & set(MEASURES):
        entry = record["report"][measure]
        assert results[measure].metric_value == round(entry["values"][1], 4), measure
    # What the Hub would write back is what is there.
    assert yaml.safe_load(card.data.to_yaml()) == parts(path)[0]


def test_the_numbers_are_those_of_the_comparison(searched):
    write_cards(searched)
    _, text = parts(searched.finalist(SMALL, 1).card)
    record = next(
        model for model in read_json(searched.comparison)["models"] if model["name"] == "MoENAS-XXS"
    )
    entry = record["report"]["balanced_accuracy"]
    row = re.search(r"\| Balanced accuracy, % \| (\S+) \| (.+?) \| (\S+) \| (.+?) \|", text)
    assert row[1] == percent(entry["values"][0])
    assert row[3] == percent(entry["mean"])
    assert row[4] == f"{percent(entry['low'])} to {percent(entry['high'])}"
    for group in record["groups"]:
        row = re.search(rf"\| {group['group']} \| (\d+) \| .+? \| (\S+) \((.+?)\) \|", text)
        assert int(row[1]) == group["n"]
        assert row[2] == percent(group["mean"])
        assert row[3] == f"{percent(group['low'])} to {percent(group['high'])}"
    scores = read_json(searched.finalist(SMALL, 1).scores)["scores"]["report"]
    assert percent(scores["noise_floor_mean"]) in text
    assert text.count("| Dimly lit |") == 1


def test_a_stranger_finds_everything(searched):
    write_cards(searched)
    _, text = parts(searched.finalist(SMALL, 1).card)
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == SECTIONS
    for words in (
        NOTE, "not for photographs of people", "one of 2 trainings", "OpenMoji", "CC BY-SA",
        "Against the base model", "upcycled", "arXiv:2502.07422", "0.4375", "One of 127",
        "perfectly fair", "Seed**: 1", "100 as a dense model, 50 with its experts", SMALL,
    ):  # fmt: skip
        assert words in text, words
    assert "{%" not in text
    assert "None" not in text
    assert not re.search(r"\n{3}", text)
    _, pruned = parts(searched.pruned().card)
    assert "1 expert removed from mobilevitv2" in pruned
    assert "It was trained once" in pruned
    assert "all seeds" not in pruned


def test_the_code_of_a_card_runs(trained, monkeypatch, capsys):
    """A reader copies it beside the checkpoint."""
    write_cards(trained)
    _, text = parts(trained.model().card)
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]
    seen = []
    monkeypatch.setattr("moenas.workflows.predict.predict_files",
                        lambda *a: seen.append(a) or [])  # fmt: skip
    exec(code, {})
    assert seen == [("checkpoint.safetensors", ["photo.jpg"])]
    assert predict_files.__name__ == "predict_files"
    assert read_card(trained.model().checkpoint).image_size == 96


def test_a_training_has_a_card_and_no_page(trained):
    done = report(trained.path)
    assert done.page is None
    assert done.cards == (trained.model().path / "README.md",)
    assert "name another run" in done.notes[-1]
    assert "Nor has it figures" in report(trained.path, "png").notes[-1]
    _, text = parts(done.cards[0])
    assert f"# {SMALL}".replace("_", "\\_") in text
    assert "how a model treats real people" in text  # drawings, known from the manifest alone


def test_a_pruning_has_a_card(tmp_path, checkpoint):
    run = make_prune(tmp_path / "cut")
    with_model(run.pruned(), checkpoint)
    cards, problems = write_cards(run)
    assert (len(cards), problems) == (1, [])
    _, text = parts(cards[0])
    assert text.startswith("# MoENAS-S pruned\n")
    assert "training of the pruned checkpoint is not known" in text
    assert "/home/" not in text  # whose disk it lay on is nobody's business


@pytest.mark.parametrize(
    ("pretrained", "words"),
    [
        (True, ["timm/mobilevitv2\\_050.cvnets\\_in1k", "cvnets-license"]),
        ("weights.safetensors", ["a local file of pretrained weights: name their licence"]),
        (False, ["new random weights"]),
    ],
)
def test_pretrained_weights_bring_their_licence(tmp_path, checkpoint, pretrained, words):
    run = make_train(tmp_path / "run", pretrained=pretrained, world=World(concepts=6))
    with_model(run.model(), checkpoint)
    write_cards(run)
    metadata, text = parts(run.model().card)
    assert all(word in text for word in words)
    assert ("base_model" in metadata) == (pretrained is True)


def test_sources_bring_their_terms_and_photographs_their_use(trained):
    told = {"source": "coco, facet", "counts": {}, "note": None}
    write_json(trained.summary, {"created": None, "data": told})
    write_cards(trained)
    metadata, text = parts(trained.model().card)
    assert metadata["datasets"] == ["coco"]  # FACET trained nothing
    assert metadata["model-index"][0]["results"][0]["dataset"]["type"] == "facet"
    assert "evaluation only" in text
    assert "drawings" not in text
    assert "wake a device" in text


def test_without_tones_and_light_the_card_says_so(tmp_path, checkpoint):
    run = make_train(tmp_path / "run", world=World(concepts=6, tones=False, lights=False))
    with_model(run.model(), checkpoint)
    write_cards(run)
    _, text = parts(run.model().card)
    assert "nothing is known of its fairness" in text
    assert "nothing is known of poor light" in text
    assert "### " not in text


HOSTILE = (
    '"]}: --- <script>alert(1)</script> ![x](http://evil.example/a.png) [a](javascript:b) `c` '
    "| d | *e* _f_ $g$ @all www.evil.example\n---\n# heading\n\u202egpj.exe"
)


def test_hostile_names(searched, tmp_path):
    shutil.copytree(searched.path, tmp_path / "<b>run|")
    run = RunFolder(tmp_path / "<b>run|")
    record, told = read_json(run.comparison), read_json(run.summary)
    for model in record["models"]:
        model["name"] = HOSTILE if model["name"] == "MoENAS-XXS" else model["name"] + "x" * 900
    write_json(run.comparison, record)
    data = told["data"] | {"source": f"emoji, {HOSTILE}", "note": HOSTILE}
    write_json(run.summary, told | {"data": data})
    write_cards(run)
    write_cards(searched)
    metadata, text = parts(run.finalist(SMALL, 1).card)
    name = metadata["model-index"][0]["name"]
    assert name.startswith('"]}: --- <script>alert(1)</script>')
    assert "\n" not in name
    assert len(name) <= 160
    assert re.fullmatch(r"[a-z0-9-]+", metadata["datasets"][1])
    assert "\u202e" not in text
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == SECTIONS
    markdown = pytest.importorskip("markdown_it").MarkdownIt("commonmark").enable("table")
    html = markdown.render(text)
    links = re.findall(r'(?:href|src)="([^"]*)"', html)
    assert all(re.match(r"https://(arxiv|github|openmoji|creativecommons)", link) for link in links)
    assert not re.search(r"<(script|img|b|i|em)\b", html)
    usual = markdown.render(parts(searched.finalist(SMALL, 1).card)[1])
    for tag in ("<h1>", "<h2>", "<tr>", "<td>", "<code>", "<strong>", "<hr", "<a "):
        assert html.count(tag) == usual.count(tag), tag


@pytest.mark.parametrize("text", ["a_b*c", "<i>", "[x](y)", "a|b", "`", "# x", "1 & 2", "\\"])
def test_escaped_text_is_shown_as_it_was(text):
    markdown = pytest.importorskip("markdown_it")
    html = markdown.MarkdownIt("commonmark").render(f"x {escape(text)} y")
    shown = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert html == f"<p>x {shown} y</p>\n"


def test_damaged_scores_are_told_not_raised(searched, tmp_path):
    shutil.copytree(searched.path, tmp_path / "run")
    run = RunFolder(tmp_path / "run")
    write_json(run.finalist(SMALL, 1).scores, {"scores": {"report": {"of": "another version"}}})
    run.finalist(SMALL, 2).checkpoint.write_bytes(b"\x80\x04 a pickle")
    cards, problems = write_cards(run)
    assert cards == [run.pruned().card]
    assert any("has no setting 'of'" in line for line in problems)
    assert any("No model card for" in line and "pickle" in line for line in problems)
    write_json(run.comparison, {"models": 3})
    assert write_cards(run)[0] == []
