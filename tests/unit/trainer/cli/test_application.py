import subprocess
import sys

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from broker.errors import LinkError
from edge_agent.configuration import ConfigurationError
from edge_agent.errors import SettingsError
from exporter.errors import KeysError
from trainer.cli.application import PARTS, app
from trainer.cli.failures import as_missing_package, exit_code_of
from trainer.cli.lazy import Part, load_part
from trainer.errors import DataError, GateRefusedError, MissingProgramError

HEAVY = (
    "numpy",
    "pandas",
    "sklearn",
    "pyarrow",
    "duckdb",
    "mlflow",
    "onnx",
    "onnxruntime",
    "matplotlib",
    "tuf",
    "paho",
)


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def fieldloop(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "trainer.cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def test_help_lists_every_command_and_imports_none_of_them() -> None:
    modules = sorted({part.module for part in PARTS})
    code = (
        "import sys\nfrom trainer.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        f"loaded = [name for name in {(*HEAVY, *modules)!r} if name in sys.modules]\nassert not loaded, loaded\n"
    )
    done = run_python(code)
    assert done.returncode == 0, done.stderr
    assert all(part.name in done.stdout for part in PARTS)


def test_the_help_of_each_command_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom trainer.cli import main\n"
        f"for name in {[part.name for part in PARTS]!r}:\n"
        "    try:\n        main([name, '--help'])\n    except SystemExit as end:\n        assert end.code == 0, name\n"
        f"loaded = [name for name in {HEAVY!r} if name in sys.modules]\nassert not loaded, loaded\n"
    )
    done = run_python(code)
    assert done.returncode == 0, done.stderr
    assert all(f"fieldloop {part.name}" in done.stdout for part in PARTS)


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_a_command_is_found_in_its_module_by_its_name(part: Part) -> None:
    assert load_part(part).name == part.name


@pytest.mark.parametrize(
    ("arguments", "usage"),
    [
        (["wire", "decode", "--help"], "fieldloop wire decode"),
        (["broker", "up", "--help"], "fieldloop broker up"),
        (["pipeline", "resume", "--help"], "fieldloop pipeline resume"),
        (["registry", "ui", "--help"], "fieldloop registry ui"),
        (["export", "--help"], "fieldloop export"),
        (["repository", "init", "--help"], "fieldloop repository init"),
    ],
)
def test_commands_of_all_floors_are_reached(arguments: list[str], usage: str) -> None:
    result = CliRunner().invoke(app, arguments, prog_name="fieldloop")
    assert result.exit_code == 0
    assert usage in result.output


def test_the_version_is_told() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert result.exit_code == 0
    assert result.output.startswith("fieldloop ")


def test_a_mistyped_command_is_answered_with_the_nearest_one() -> None:
    result = CliRunner().invoke(app, ["pipelin", "run"])
    assert result.exit_code == 2
    assert "pipeline" in result.output


def test_an_error_is_one_message_on_stderr_with_the_exit_code_of_its_class(tmp_path) -> None:
    done = fieldloop("pipeline", "run", "--project", str(tmp_path))
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("fieldloop: ")
    assert str(tmp_path) in done.stderr
    assert "Traceback" not in done.stderr


def test_verbose_shows_where_an_error_came_from(tmp_path) -> None:
    done = fieldloop("--verbose", "pipeline", "run", "--project", str(tmp_path))
    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert "fieldloop: " in done.stderr


def test_a_package_that_is_not_installed_is_named_with_the_line_that_installs_it(tmp_path) -> None:
    (tmp_path / "fieldloop.toml").write_text(
        'name = "a"\n[data]\npath = ["x.csv"]\n[target]\ncolumn = "y"\ntask = "regression"\n[[features]]\nname = "x"\n'
    )
    code = (
        "import sys\nsys.modules['mlflow'] = None\nfrom trainer.cli import main\n"
        f"main(['registry', 'list', '--project', {str(tmp_path)!r}])"
    )
    done = run_python(code)
    assert done.returncode == MissingProgramError.exit_code
    assert "'mlflow'" in done.stderr
    assert "pip install 'fieldloop[all]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_module_of_ours_is_no_missing_package() -> None:
    assert as_missing_package(ModuleNotFoundError(name="trainer.nothing")) is None


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DataError("x"), 3),
        (GateRefusedError("x"), 4),
        (KeysError("x"), 6),
        (SettingsError("x"), 2),
        (LinkError("x"), 1),
        (ConfigurationError("x"), 2),
    ],
)
def test_each_error_has_its_exit_code(error: Exception, code: int) -> None:
    assert exit_code_of(error) == code


def test_a_surprise_keeps_its_traceback() -> None:
    code = (
        "import trainer.project.loading, trainer.cli\n"
        "def broken(path): raise ZeroDivisionError('surprise')\n"
        "trainer.project.loading.load_project = broken\n"
        "trainer.cli.main(['pipeline', 'list'])"
    )
    done = run_python(code)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "surprise" in done.stderr


def test_the_module_and_the_script_are_one_command() -> None:
    done = fieldloop("--help")
    assert done.returncode == 0
    assert get_command(app).callback is not None


def test_help_flows_whatever_the_width_of_the_source_and_lists_what_comes_first_first() -> None:
    shown = fieldloop("broker", "up", "--help").stdout
    # A break of the source's lines would leave the first of these short.
    assert all(len(line.rstrip()) > 66 for line in shown.splitlines() if "With --fleet it is a Mosquitto" in line)
    assert "With --fleet it is a Mosquitto" in shown
    commands = fieldloop("fleet", "--help").stdout.partition("Commands")[2]
    assert commands.index("init") < commands.index("server")
