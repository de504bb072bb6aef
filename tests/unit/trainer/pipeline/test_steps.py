"""The production pipeline's graph: a run that is taken up carries out what depends on a change, and nothing else."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.unit.trainer.cli.projects import write_small_project
from tests.unit.trainer.conftest import NewStore
from trainer.errors import RunError
from trainer.pipeline.opening import Beginning
from trainer.pipeline.production import RunResult, run_production, run_step
from trainer.pipeline.runs import RESULT_NAME, STEPS, load_run, run_folder
from trainer.pipeline.steps import PRODUCTION
from trainer.project.loading import load_project
from trainer.project.project import LoadedProject
from trainer.project.section import Section
from trainer.registry.registry import Registry
from trainer.registry.tracking import STORE_NAME

Change = Callable[[Path], None]


@dataclass
class Kept:
    """A project with one run, all but ended, for one test to change."""

    folder: Path
    run_id: str
    model: bytes

    @property
    def run(self) -> Path:
        return run_folder(self.folder / ".fieldloop", self.run_id)

    def take_up(self) -> tuple[RunResult, list[str]]:
        ran: list[str] = []
        result = run_production(
            load_project(self.folder),
            trigger="",
            reason="",
            resume=self.run_id,
            progress=lambda event: ran.append(event.step) if event.phase == "started" else None,
        )
        return result, ran


@pytest.fixture(scope="module")
def finished(new_store: NewStore, tmp_path_factory: pytest.TempPathFactory) -> Kept:
    root = tmp_path_factory.mktemp("steps")
    folder = root / "project000"
    folder.mkdir()
    write_small_project(folder)
    new_store(folder / ".fieldloop")
    result = run_production(load_project(folder), trigger="manual", reason="a test")
    run = run_folder(folder / ".fieldloop", result.run_id)
    (run / RESULT_NAME).unlink()
    return Kept(folder, result.run_id, (run / "train" / "model.skops").read_bytes())


@pytest.fixture
def kept(finished: Kept) -> Kept:
    """Another place, because MLflow keeps a store open; of a name as long, which is changed within the store."""
    folder = finished.folder.with_name(f"project{len(list(finished.folder.parent.iterdir())):03}")
    shutil.copytree(finished.folder, folder)
    store = folder / ".fieldloop" / STORE_NAME
    store.write_bytes(store.read_bytes().replace(os.fsencode(finished.folder), os.fsencode(folder)))
    return Kept(folder, finished.run_id, finished.model)


def edit(old: str, new: str) -> Change:
    def change(folder: Path) -> None:
        path = folder / "fieldloop.toml"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    return change


def edit_data(change: Callable[[str], str]) -> Change:
    def do(folder: Path) -> None:
        path = folder / "rows.csv"
        path.write_text(change(path.read_text()))

    return do


@pytest.mark.parametrize(
    ("change", "ran"),
    [
        (lambda _: None, []),
        (edit("[gate]", '[alerts]\nwebhook = "https://example.org"\n\n[gate]'), []),
        (edit("[gate]", "[monitoring]\nask_labels = 31\n\n[gate]"), []),
        # Gate and promote alone; what the gate decides rests on export's report, which is not made again.
        (edit("min_gain_over_baseline = 0.0", "min_gain_over_baseline = 0.1"), ["gate", "promote"]),
        (edit("[gate]", "[gate]\nmax_parity_loss = 0.1"), ["export", "gate", "promote"]),
        # The same rows, with the line ends of another system: the wave ends where it began.
        (edit_data(lambda text: text), ["extract"]),
        (edit("blocks = 2", "blocks = 2\nholdout = 0.2"), []),
        (edit_data(lambda text: text + "0.5,0.5,good\n"), list(STEPS)),
        # Another order to the search that makes the same model.
        (edit("trials = 1", "trials = 1\ntimeout_s = 599.0"), ["train"]),
    ],
    ids=[
        "nothing",
        "a webhook",
        "monitoring",
        "the gate",
        "a limit that export reads too",
        "line ends of the data",
        "a default written down",
        "another row of data",
        "another limit of time",
    ],
)
def test_a_change_carries_out_again_what_depends_on_it(change: Change, ran: list[str], kept: Kept) -> None:
    change(kept.folder)
    result, carried_out = kept.take_up()
    assert carried_out == ran
    assert result.promoted
    registry = Registry(kept.folder / ".fieldloop")
    assert [model.version for model in registry.versions("quality")] == [1]
    assert len(registry.promotions("quality")) == 1
    assert registry.load("quality").tags["gate"] == "passed"


@pytest.mark.parametrize(
    ("module", "first", "ran"),
    [
        ("exporter/export.py", "export", ["export", "gate", "promote"]),
        ("trainer/pipeline/gate.py", "gate", ["gate"]),
        ("trainer/pipeline/gate_evidence.py", "gate", ["gate", "promote"]),
        ("trainer/pipeline/preparing.py", "prepare", ["prepare"]),
        ("trainer/pipeline/splits.py", "prepare", ["prepare", "train", "evaluate", "register", "export"]),
    ],
)
def test_changed_code_carries_out_again_the_steps_that_it_is_of(
    module: str, first: str, ran: list[str], kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Path.read_bytes

    def changed(self: Path) -> bytes:
        text = read(self)
        return text + b"# mended\n" if self.as_posix().endswith(module) else text

    monkeypatch.setattr(Path, "read_bytes", changed)
    _, carried_out = kept.take_up()
    assert carried_out[0] == first
    assert carried_out[: len(ran)] == ran
    assert (kept.run / "train" / "model.skops").read_bytes() == kept.model
    verdict = load_run(kept.folder / ".fieldloop", kept.run_id).verdict_on(first)
    assert verdict is not None
    assert verdict.why == "its code changed"


def test_a_file_that_was_changed_after_its_step_is_noticed_and_made_again(kept: Kept) -> None:
    model = kept.run / "train" / "model.skops"
    model.write_bytes(model.read_bytes() + b"\0")
    _, carried_out = kept.take_up()
    assert carried_out == ["train"]
    assert model.read_bytes() == kept.model


def test_a_gate_that_refuses_now_what_was_promoted_by_an_attempt_that_was_cut_off_says_so(kept: Kept) -> None:
    edit("min_gain_over_baseline = 0.0", "min_gain_over_baseline = 2.0")(kept.folder)
    with pytest.raises(RunError, match=r"quality/1 is the champion by an attempt.*fieldloop registry rollback"):
        kept.take_up()


def test_a_run_that_was_promoted_and_not_ended_is_not_promoted_over_its_successor(kept: Kept) -> None:
    run_production(load_project(kept.folder), trigger="manual", reason="the successor")
    result, carried_out = kept.take_up()
    assert carried_out == []
    assert result.promoted
    assert Registry(kept.folder / ".fieldloop").load("quality").version == 2


def test_a_run_of_another_model_is_not_taken_up(kept: Kept) -> None:
    edit('name = "quality"', 'name = "yield"')(kept.folder)
    with pytest.raises(RunError, match="is of model 'quality', the project's is 'yield' now"):
        kept.take_up()


def test_the_steps_are_run_one_by_one_by_another_engine_and_the_last_one_ends_the_run(
    kept: Kept, new_store: NewStore, tmp_path: Path
) -> None:
    loaded = load_project(write_small_project(tmp_path))
    new_store(loaded.state)
    with pytest.raises(RunError, match="step 'train' needs a run: a new one begins with 'extract'"):
        run_step(loaded, "train", Beginning("manual", "a test"), executor="kfp")
    first = run_step(loaded, "extract", Beginning("manual", "a test"), executor="kfp")
    assert first.ran
    with pytest.raises(RunError, match="'train' rests on 'validate', which must be carried out first"):
        run_step(loaded, "train", first.run_id, executor="kfp")
    assert not run_step(loaded, "extract", first.run_id, executor="kfp").ran
    results = [run_step(loaded, name, first.run_id, executor="kfp") for name in STEPS[1:]]
    assert all(result.ran for result in results)
    assert [result.end is None for result in results] == [True] * 7 + [False]
    overview = load_run(loaded.state, first.run_id)
    assert overview.end is not None
    assert overview.end.promoted
    assert {record.executor for record in overview.steps} == {"kfp"}
    made = run_folder(loaded.state, first.run_id) / "train" / "model.skops"
    assert made.read_bytes() == kept.model
    with pytest.raises(RunError, match="has ended"):
        run_step(loaded, "promote", first.run_id, executor="kfp")


def test_a_step_reads_of_the_project_no_more_than_it_says(new_store: NewStore, tmp_path: Path) -> None:
    """Every read of a key is written down while a step is carried out; the steps' own lists must cover it."""
    loaded = load_project(write_small_project(tmp_path))
    new_store(loaded.state)
    reads: dict[str, set[str]] = {}
    now = [""]
    project = _watched(loaded.project, "", lambda name: reads.setdefault(now[0], set()).add(name))

    def note(event: Any) -> None:
        now[0] = event.step if event.phase == "started" else ""

    run_production(LoadedProject(project, loaded.folder, loaded.stores), trigger="", reason="", progress=note)
    for step in PRODUCTION.order:
        undeclared = {name for name in reads.get(step.name, ()) if not _is_covered(name, step.reads)}
        assert not undeclared, step.name
    assert reads["gate"]


def _watched(section: Any, before: str, tell: Callable[[str], None]) -> Any:
    """Return the same section, which tells of every key that is read."""
    kind: Any = type(section)
    keys: frozenset[str] = frozenset(kind.__struct_fields__)

    def read(self: Any, name: str) -> Any:
        if name in keys:
            tell(f"{before}{name}")
        return kind.__getattribute__(self, name)

    make: Any = type(kind)
    watched = make("Watched", (kind,), {"__getattribute__": read}, frozen=True)
    values = {name: getattr(section, name) for name in keys}
    return watched(
        **{
            name: _watched(value, f"{before}{name}.", tell) if isinstance(value, Section) else value
            for name, value in values.items()
        }
    )


def _is_covered(name: str, declared: tuple[str, ...]) -> bool:
    # Where the state lies decides nothing, and what the registry calls its stages is the registry's: a step is given
    # which version is the champion. To read a section is to read one of its keys.
    return (
        name == "state"
        or name.startswith("registry")
        or any(name == key or name.startswith(f"{key}.") or key.startswith(f"{name}.") for key in declared)
    )
