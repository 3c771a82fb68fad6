"""What README.md and docs/ show works: their programs run, and so do their commands."""

import importlib.util
import pathlib
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
import warnings

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CHECKED = {"python", "bash", "console"}
UNCHECKED = {"text", "bibtex"}


def name_of(path):
    return str(path.relative_to(ROOT))


def blocks(text):
    """Language, code and first line of code of every fenced block."""
    for fence in FENCE.finditer(text):
        yield fence[1], fence[2], text.count("\n", 0, fence.start(2)) + 1


def commands(text):
    """The commands of a page: all lines of a bash block, those after `$` in a console block."""
    for language, code, _ in blocks(text):
        prompt = {"bash": "", "console": "$ "}.get(language)
        if prompt is not None:
            for line in code.replace("\\\n", " ").splitlines():
                words = shlex.split(line.removeprefix(prompt), comments=True)
                if line.startswith(prompt) and words:
                    yield normal(words)


def normal(words):
    """One spelling for commands that do the same; an experiment becomes its smoke run."""
    words = [re.sub(r"^(\.venv/bin/)?python3?$", "python", word) for word in words]
    if is_experiment(words):
        if "--out" in words:  # the default is another folder below this one
            where = words.index("--out")
            words = words[:where] + words[where + 2 :]
        words = [word for word in words if word != "--smoke"] + ["--smoke"]
    return shlex.join(words)


def is_experiment(words):
    return any(word.startswith("experiments.") for word in words)


def execute(words, **options):
    done = subprocess.run(words, capture_output=True, text=True, timeout=600, **options)
    assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout}\n{done.stderr}"


def run_module(module, arguments, folder, settings):
    """What `python -m` does, in this process: a new one takes seconds until it has jax."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", [module, *arguments])
        for name, value in settings.items():
            patch.setenv(name, value)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*found in sys.modules", RuntimeWarning)
            try:
                runpy.run_module(module, run_name="__main__", alter_sys=True)
            except SystemExit as stop:
                assert not stop.code, f"{shlex.join([module, *arguments])}: {stop.code}"
            except ImportError as missing:
                pytest.fail(f"python -m {module}: {missing}")


def check(command, folder):
    """Fails when a command would: by running it, or by looking up what it names."""
    words = shlex.split(command)
    settings = {}
    while re.match(r"\w+=", words[0]):
        name, _, value = words.pop(0).partition("=")
        settings[name] = value

    match words:
        case ["make", *targets]:
            execute(["make", "--dry-run", *targets], cwd=ROOT)
        case ["python", "-m", "pip", *_] | ["pip" | "uv", *_]:
            asked = re.findall(r"(?:\.|sptrack)\[([\w,-]+)\]", " ".join(words))
            missing = set(",".join(asked).split(",")) - EXTRAS.keys() - {""}
            assert not missing, f"{command}: pyproject.toml has no extra {missing}"
        case ["python", "-m", module, *arguments] if is_experiment(words):
            run_module(module, arguments, folder, settings)
        case ["python", "-m", module, *_]:
            assert importlib.util.find_spec(module), f"{command}: there is no module {module}"
        case _:
            pytest.fail(f"{command}: a command that nothing checks; say how to, here in check()")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_says_what_it_is(page):
    text = page.read_text()
    languages = [language for language, _, _ in blocks(text)]
    assert set(languages) <= CHECKED | UNCHECKED
    assert text.count("```") == 2 * len(languages)


@pytest.mark.keys_are_checked
@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_programs_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "__main__"}
    for language, code, line in blocks(page.read_text()):
        if language == "python":
            padded = "\n" * (line - 1) + code  # so that a traceback shows the page's own line
            exec(compile(padded, page, "exec"), namespace)


@pytest.mark.keys_are_checked
@pytest.mark.parametrize(
    "command",
    [
        pytest.param(command, marks=[pytest.mark.slow] if "experiments." in command else [])
        for command in dict.fromkeys(c for page in PAGES for c in commands(page.read_text()))
    ],
)
def test_commands_work(command, tmp_path):
    check(command, tmp_path)


@pytest.mark.parametrize(
    "command",
    [
        "make nothing-of-the-kind",
        "pip install -e '.[nothing-of-the-kind]'",
        "python -m nothing_of_the_kind",
        "python -m experiments.nothing_of_the_kind --smoke",
        "frobnicate --all",
    ],
)
def test_a_command_that_fails_is_seen(command, tmp_path):
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        check(command, tmp_path)


def test_commands_are_found():
    page = """
```console
$ make demo  # with a comment
accuracy 0.96
```

```bash
A=1 .venv/bin/python -m experiments.quickstart \\
  --seeds 2
```
"""
    assert list(commands(page)) == [
        "make demo",
        "A=1 python -m experiments.quickstart --seeds 2 --smoke",
    ]
