"""The documentation keeps its word: examples run, commands parse, references are up to date."""

import re
import shlex
import subprocess
import sys

import pytest
import torch
import yaml
from helpers import ROOT, load_tool
from PIL import Image

from ra.cli.parser import parse
from ra.config import load_config
from ra.models.checkpoints import save_model
from ra.models.processors import build_processor

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MODEL = "results/embedded/sr/ra/l0.0005/resnet18/seed0/processor.safetensors"


def blocks(page, *languages: str) -> list[str]:
    """Blocks of code in these languages; a block without a name of a language is ``""``."""
    fences = re.findall(r"^ *```(\w*)\n(.*?)^ *```$", page.read_text(), re.S | re.M)
    return [text for language, text in fences if language in languages]


def commands() -> list[tuple[str, str]]:
    """(page, command) of every line of a plain block that calls ra, snakemake or make."""
    found = []
    for page in PAGES:
        for block in blocks(page, "", "bash", "sh", "console"):
            for line in block.replace("\\\n", " ").splitlines():
                line = line.strip().removeprefix("$ ")
                # Those with plugins are parsed below, where the plugins are.
                if re.match(r"(ra|snakemake|make) ", line) and "--plugins" not in line:
                    found.append((page.name, line))
    return found


@pytest.mark.parametrize(("page", "line"), commands())
def test_commands_parse(page, line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_net.yaml").touch()  # recognizers of a user's own have to be there
    words = shlex.split(line, comments=True)
    check = {"ra": check_ra, "snakemake": check_snakemake, "make": check_make}
    check[words[0]](words[1:])


def check_ra(words):
    parse(words)


def check_make(words):
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
    words = words[: words.index("&&")] if "&&" in words else words
    wanted = [word for word in words if "=" not in word][-1]
    assert wanted in targets or f"\n{wanted}:" in (ROOT / "Makefile").read_text()


def check_snakemake(words):
    """Flags are Snakemake's; targets, presets, profiles and config keys exist."""
    from snakemake.cli import get_argument_parser

    options = get_argument_parser().parse_args(words)
    assert (
        options.cores
        or options.dryrun
        or options.report
        or options.lint is not None
        or any(vars(options).get(name) for name in ("workflow_profile", "profile", "unlock"))
    ), "snakemake needs --cores N"
    rules = re.findall(
        r"^(?:use )?rule (?:\w+ as )?(\w+)",
        "\n".join(p.read_text() for p in (ROOT / "workflow/rules").glob("*.smk")),
        re.M,
    )
    for target in options.targets:
        assert target in [*rules, "all"] or "/" in target, f"no rule {target}"
    if options.workflow_profile:
        assert (ROOT / options.workflow_profile / "config.yaml").exists()
    given = yaml.safe_load((ROOT / "config.yaml").read_text())
    for preset in options.configfile or []:
        if str(preset).startswith("workflow/"):
            given = yaml.safe_load((ROOT / preset).read_text())
    for word in options.config or []:
        key, _, value = word.partition("=")
        meant = yaml.safe_load(value)
        known = isinstance(meant, dict) and isinstance(given.get(key), dict)
        given[key] = {**given[key], **meant} if known and key != "objectives" else meant
    load_config({"data": "x", **given})


def configurations() -> list:
    """(text) of every block of YAML; one that is indented goes on with the block before it."""
    found = []
    for page in PAGES:
        before = ""
        for number, text in enumerate(blocks(page, "yaml")):
            before = before + text if text.startswith(" ") else text
            # Plugins are below; a recognizer's own file is in test_recognizers.py.
            if "plugins:" not in text and not text.startswith("arch:"):
                found.append(pytest.param(before, id=f"{page.stem}-{number}"))
    return found


@pytest.mark.parametrize("text", configurations())
def test_configurations_are_accepted(text, tmp_path, monkeypatch):
    """As a whole or, where keys are shown alone, in place of those of config.yaml."""
    monkeypatch.chdir(tmp_path)
    for name in re.findall(r"[\w/]+\.(?:yaml|pth|safetensors)", text):  # have to be there
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    load_config({**yaml.safe_load((ROOT / "config.yaml").read_text()), **yaml.safe_load(text)})


CLI = (ROOT / "docs/cli.md").read_text()
INLINE = [
    (page.name, " ".join(text.split()))
    for page in PAGES
    for text in re.findall(r"`((?:ra [a-z-]+ -|python tools/)[^`…]+)`", page.read_text())
]


@pytest.mark.parametrize(("page", "line"), INLINE)
def test_commands_in_sentences_have_the_flags(page, line):
    """What is not at issue in a sentence may be left out."""
    words = line.split()
    if words[0] == "python":
        assert (ROOT / words[1]).exists()
    else:
        (section,) = re.findall(rf"^## ra {words[1]}$(.*?)(?=^## |\Z)", CLI, re.S | re.M)
        for flag in re.findall(r" (--[a-z][\w-]*)", line):
            assert re.search(rf"{flag}(?![\w-])", section), f"ra {words[1]} has no {flag}"


def test_there_are_commands_to_check():
    """Were no block found, all the tests above would pass."""
    assert len(commands()) > 20


EXAMPLES = [
    pytest.param(text, id=f"{page.stem}-{number}")
    for page in PAGES[1:]
    if page.stem != "extend"  # files of a user's own: below, and tests/workflow/test_extend.py
    for number, text in enumerate(blocks(page, "python"))
    if "mlflow.pyfunc" not in text  # tests/tracking/test_view.py has a store for it
    and "lite{n}.pth" not in text  # weights of packages that are no dependency
]


@pytest.mark.parametrize("text", EXAMPLES)
def test_python_examples_run(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    Image.new("RGB", (8, 8), "teal").save("photo.jpg")
    trained = build_processor("SRResNet", scale=4, channels=4, blocks=1)
    save_model(tmp_path / MODEL, trained, {"kind": "processor", "task": "sr"})
    exec(compile(text, "example", "exec"), {})


# In a process of its own, in which the names of a user's classes stay.
EXTENDED = """
import sys
from pathlib import Path

from ra.cli.parser import parse
from ra.config import load_config
from ra.files import read_yaml

parse(sys.argv[1:])
config = load_config(read_yaml(Path("config.yaml")))
print(config.tasks, config.processor, config.objectives, config.objective_settings)
print(config.metrics, config.measure_settings)
"""


def test_the_files_of_extend_fit_together(tmp_path):
    """Trained and tabulated they are in tests/workflow/test_extend.py."""
    named = r"`([\w.]+)`:\n\n```(?:python|yaml)\n(.*?)^```$"
    text_of_extend = (ROOT / "docs/extend.md").read_text()
    files = dict(re.findall(named, text_of_extend, re.S | re.M))
    assert len(files) == 5
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    (command,) = re.findall(r"^ra (train .*(?:\n +.*)*)", text_of_extend, re.M)
    words = shlex.split(command.replace("\\\n", " "))
    run = subprocess.run(
        [sys.executable, "-c", EXTENDED, *words], cwd=tmp_path, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    for part in ("{'salt': {'share': 0.05}}", "'sharpen'", "'smoothing': 0.2", "'power': 2.0"):
        assert part in run.stdout
    registered = re.findall(r"@(\w+)(?:\.register)?\(", "".join(files.values()))
    assert {*registered} >= {"TASKS", "PROCESSORS", "OBJECTIVES", "measure"}


@pytest.fixture(scope="module")
def generate():
    return load_tool("generate")


STALE = """
import runpy
made = runpy.run_path("tools/generate.py")["made"]()
print(*(path.name for path, text in made.items() if path.read_text() != text))
"""


def test_what_is_generated_is_up_to_date():
    """In a process of its own: the examples above register tasks, whose flags are not ours."""
    run = subprocess.run([sys.executable, "-c", STALE], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == [], "run python tools/generate.py"


def test_every_setting_of_the_experiment_is_in_the_reference(generate):
    text = generate.configuration()
    for key, part in generate.Experiment.model_fields.items():
        below = getattr(part.annotation, "model_fields", {})
        for name in [f"{key}.{field.alias or child}" for child, field in below.items()] or [key]:
            assert f"`{name}" in text, f"{name} is not in docs/config.md"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pasted_tables_are_of_this_code_and_config(page):
    paste = load_tool("paste")
    stale = paste.stale(page.read_text(), paste.digest())
    assert not stale, (
        f"{page.name}: other code or another config.yaml made the tables {', '.join(stale)}; run "
        "snakemake --cores 2 tables analysis, python tools/paste.py, and read the text around them"
    )


def test_the_navigation_has_every_page_once():
    parts = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    pages = [page for part in parts for entries in part.values() for page in entries]
    listed = [file for page in pages for file in page.values()]
    assert sorted(listed) == sorted(page.name for page in PAGES[1:])
    first = (ROOT / "docs/index.md").read_text()
    assert re.findall(r"^\| \[[^]]+\]\(([\w.]+)\)", first, re.M) == listed[1:]


def test_pages_are_in_plain_english():
    """Processor, recognizer and transformer in prose; nobody is asked (CONTRIBUTING.md)."""
    odd = re.compile(r"\b[PRT]'s\b|not to be had|is no \w+ (?:that|of)\b|\b(?:is|are) asked\b")
    for page in PAGES:
        assert not odd.findall(page.read_text()), page.name


def test_links_lead_to_files():
    for page in PAGES:
        prose = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.S | re.M)
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", prose):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("name", [".snakemake-workflow-catalog.yml", "CITATION.cff", "mkdocs.yml"])
def test_meta_files_are_yaml(name):
    assert yaml.safe_load((ROOT / name).read_text())


def test_contributing_fits_a_screen():
    lines = (ROOT / "CONTRIBUTING.md").read_text().splitlines()
    assert len(lines) <= 50 and max(map(len, lines)) <= 100


def test_every_figure_says_how_it_was_made():
    """Below it, in its page or in CONTRIBUTING.md; no file of docs/ is left over."""
    pages = {page.name: page.read_text() for page in [*PAGES, ROOT / "CONTRIBUTING.md"]}
    image = r"(?:!\[[^]]+\]\(|<img src=\"(?:docs/)?)([\w.]+)"
    shown = {name for text in pages.values() for name in re.findall(image, text)}
    kept = {path.name for path in (ROOT / "docs").iterdir() if path.suffix in (".png", ".svg")}
    assert shown == kept and len(kept) >= 7
    text = "\n".join(pages.values())
    made = {name for name in kept if re.search(rf"`[^`]*\bdocs/{name}`", text)}
    assert kept - made == {*load_tool("paste").FIGURES, "timeline.png"}  # of `ra bench dag`


def test_the_site_is_built_without_a_warning(tmp_path):
    pytest.importorskip("mkdocs")  # an environment older than the lock
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "-q", "-d", str(tmp_path / "site")],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert built.returncode == 0 and built.stderr == "", built.stderr
    for page in PAGES[1:]:
        name = "index.html" if page.stem == "index" else f"{page.stem}/index.html"
        assert (tmp_path / "site" / name).exists()
    assert yaml.safe_load((ROOT / "mkdocs.yml").read_text())["strict"]
