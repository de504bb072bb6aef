from pathlib import Path

import pytest

from trainer.errors import ProjectError
from trainer.project.loading import FILE_NAME, load_project
from trainer.project.project import LoadedProject

TOP = {
    "": 'name = "quality"',
    "data": 'path = ["rows.csv"]',
    "target": 'column = "quality"\ntask = "classification"',
}
FEATURES = '\n[[features]]\nname = "pressure"\n\n[[features]]\nname = "vibration"\n'
SECTIONS = ("data", "target", "training", "gate", "export", "monitoring", "rollout", "rollout.trial", "alerts")


def write(folder: Path, features: str = FEATURES, **lines: str) -> Path:
    """Write a project with more lines in some sections; ``top`` are those before the first section."""
    wanted = {name.replace("_", ".") if name != "top" else "": text for name, text in lines.items()}
    text = ""
    for section in ("", *SECTIONS):
        body = "\n".join(part for part in (TOP.get(section, ""), wanted.get(section, "")) if part)
        if body:
            text += f"\n[{section}]\n{body}\n" if section else f"{body}\n"
    path = folder / FILE_NAME
    path.write_text(text + features, encoding="utf-8")
    return path


def load(folder: Path, features: str = FEATURES, **lines: str) -> LoadedProject:
    return load_project(write(folder, features, **lines))


def problems(path: Path) -> list[str]:
    """What is said of a project file, a line each."""
    with pytest.raises(ProjectError) as caught:
        load_project(path)
    told = str(caught.value).splitlines()
    assert all(line.startswith(f"{path}: ") for line in told)
    return [line.removeprefix(f"{path}: ") for line in told]


def refused(folder: Path, features: str = FEATURES, **lines: str) -> list[str]:
    return problems(write(folder, features, **lines))


# --- what is read -----------------------------------------------------------------------------------------------------


def test_a_project_is_found_by_its_file_or_by_its_folder(tmp_path: Path) -> None:
    path = write(tmp_path)
    assert load_project(path) == load_project(tmp_path)


def test_paths_start_from_the_folder_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "plant"
    folder.mkdir()
    write(folder, top='state = "kept"')
    monkeypatch.chdir(tmp_path)
    loaded = load_project(Path("plant"))
    assert loaded.folder == folder
    assert loaded.state == folder / "kept"
    assert loaded.data_paths == (folder / "rows.csv",)


def test_an_absolute_path_stays_where_it_is(tmp_path: Path) -> None:
    text = write(tmp_path).read_text(encoding="utf-8").replace("rows.csv", "/data/rows.csv")
    (tmp_path / FILE_NAME).write_text(text, encoding="utf-8")
    assert load_project(tmp_path).data_paths == (Path("/data/rows.csv"),)


def test_a_short_project_takes_the_defaults_and_keeps_the_order_of_its_features(tmp_path: Path) -> None:
    project = load(tmp_path).project
    assert [feature.name for feature in project.features] == ["pressure", "vibration"]
    assert project.data.rows is None
    assert project.state == ".fieldloop"
    assert project.rollout.rings[-1] == 1.0
    assert project.training.candidates == ()


def test_every_section_can_be_set(tmp_path: Path) -> None:
    project = load(
        tmp_path,
        data='rows = [10, 20]\nentity = "unit"\ntimestamp = "at"',
        target='labels = ["good", "scrap"]\nmetric = "macro_f1"',
        training='split = "entity"\nblocks = 2',
        gate="max_parity_loss = 0.5",
        export="max_latency_us = 90.5",
        monitoring="window_rows = 7",
        rollout="rings = [0.2, 0.5, 1.0]",
        rollout_trial="rows = 3",
        alerts='webhook = "http://127.0.0.1/told"',
    ).project
    assert project.data.rows == (10, 20)
    assert project.metric == "macro_f1"
    assert project.training.split == "entity"
    assert project.gate.max_parity_loss == 0.5
    assert project.export.max_latency_us == 90.5
    assert project.monitoring.window_rows == 7
    assert project.rollout.rings == (0.2, 0.5, 1.0)
    assert project.rollout.trial.rows == 3
    assert project.alerts.webhook == "http://127.0.0.1/told"


@pytest.mark.parametrize(("task", "metric"), [("classification", "accuracy"), ("regression", "r2")])
def test_a_task_has_its_usual_metric(tmp_path: Path, task: str, metric: str) -> None:
    text = write(tmp_path).read_text(encoding="utf-8").replace("classification", task)
    (tmp_path / FILE_NAME).write_text(text, encoding="utf-8")
    assert load_project(tmp_path).project.metric == metric


# --- keys -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "line", "mistyped", "meant"),
    [
        ("top", "sead = 1", "sead", "seed"),
        ("data", 'timestmp = "at"', "data.timestmp", "data.timestamp"),
        ("target", 'lables = ["good"]', "target.lables", "target.labels"),
        ("training", "trails = 3", "training.trails", "training.trials"),
        ("gate", "min_gain_over_base = 0.1", "gate.min_gain_over_base", "gate.min_gain_over_baseline"),
        ("export", 'variant = ["onnx-fp32"]', "export.variant", "export.variants"),
        ("monitoring", "windows_rows = 50", "monitoring.windows_rows", "monitoring.window_rows"),
        ("rollout", "ring = [1.0]", "rollout.ring", "rollout.rings"),
        ("rollout_trial", "max_latency = 5", "rollout.trial.max_latency", "rollout.trial.max_latency_us"),
        ("alerts", 'web_hook = "http://x"', "alerts.web_hook", "alerts.webhook"),
    ],
)
def test_a_mistyped_key_of_any_section_is_named_with_the_nearest_right_one(
    tmp_path: Path, section: str, line: str, mistyped: str, meant: str
) -> None:
    assert refused(tmp_path, **{section: line}) == [f"unknown key {mistyped!r}; did you mean {meant!r}?"]


def test_a_mistyped_key_of_a_feature_is_named_with_the_feature_that_has_it(tmp_path: Path) -> None:
    told = refused(tmp_path, FEATURES + 'on_mising = "flag"\n')
    assert told == ["unknown key 'features[1].on_mising'; did you mean 'features[1].on_missing'?"]


def test_a_mistyped_section_is_named_with_the_nearest_right_one(tmp_path: Path) -> None:
    told = refused(tmp_path, FEATURES + "[trainning]\ntrials = 3\n")
    assert told == ["unknown key 'trainning'; did you mean 'training'?"]


def test_a_key_that_is_near_to_none_is_named_with_those_that_there_are(tmp_path: Path) -> None:
    assert refused(tmp_path, alerts='xyz = "?"') == ["unknown key 'alerts.xyz'; known here: file, webhook"]


def test_all_wrong_keys_are_told_at_once(tmp_path: Path) -> None:
    told = refused(tmp_path, training="trails = 3\nbloks = 2", gate="max_los_to_previous = 1.0")
    assert len(told) == 3


@pytest.mark.parametrize("key", ["name", "path", "column", "task"])
def test_a_key_that_must_be_there_and_is_not_is_named(tmp_path: Path, key: str) -> None:
    path = write(tmp_path, features='\n[[features]]\nname = "pressure"\n')
    lines = path.read_text(encoding="utf-8").split("\n")
    lines.remove(next(line for line in lines if line.startswith(f"{key} = ")))
    path.write_text("\n".join(lines), encoding="utf-8")
    section = {"name": "", "path": "data."}.get(key, "target.")
    assert problems(path) == [f"missing required field `{section}{key}`"]


# --- values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "line", "key"),
    [
        ("top", 'seed = "one"', "seed"),
        ("data", "rows = [5]", "data.rows"),
        ("data", "rows = [-1, 5]", "data.rows[0]"),
        ("target", 'metric = "acuracy"', "target.metric"),
        ("training", "trials = 0", "training.trials"),
        ("training", "blocks = 1", "training.blocks"),
        ("training", "holdout = 0.9", "training.holdout"),
        ("training", "holdout = 0.0", "training.holdout"),
        ("training", "class_weights = []", "training.class_weights"),
        ("training", 'split = "random"', "training.split"),
        ("export", "variants = []", "export.variants"),
        ("monitoring", "max_label_share = 1.1", "monitoring.max_label_share"),
        ("rollout", "rings = []", "rollout.rings"),
        ("rollout", "rings = [0.5, 1.5]", "rollout.rings[1]"),
        ("rollout", "max_failures = -1", "rollout.max_failures"),
        ("rollout_trial", "rows = 0", "rollout.trial.rows"),
    ],
)
def test_a_value_of_a_wrong_type_or_size_is_refused_with_its_key(
    tmp_path: Path, section: str, line: str, key: str
) -> None:
    (told,) = refused(tmp_path, **{section: line})
    assert told.startswith(f"key {key!r}: ")


@pytest.mark.parametrize("name", ["", "Quality", "-quality", "qual/ity", "q" * 64])
def test_a_name_that_could_not_stand_in_a_registry_is_refused(tmp_path: Path, name: str) -> None:
    path = write(tmp_path)
    path.write_text(path.read_text(encoding="utf-8").replace('"quality"', f'"{name}"', 1), encoding="utf-8")
    (told,) = problems(path)
    assert told.startswith("key 'name': ")


def test_one_path_that_is_no_list_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path)
    path.write_text(path.read_text(encoding="utf-8").replace('["rows.csv"]', '"rows.csv"'), encoding="utf-8")
    (told,) = problems(path)
    assert told.startswith("key 'data.path': ")


def test_a_project_without_a_feature_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path, "") == ["missing required field `features`"]
    (told,) = refused(tmp_path, "", top="features = []")
    assert told.startswith("key 'features': ")


# --- contradictions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fleet", ["Main", "a/b", "", "-a", "a" * 64])
def test_a_fleet_whose_name_could_not_stand_in_a_topic_is_refused(tmp_path: Path, fleet: str) -> None:
    (told,) = refused(tmp_path, top=f'fleet = "{fleet}"')
    assert told.startswith(f"key 'fleet': fleet name {fleet!r}: ")


def test_a_feature_that_is_listed_twice_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path, FEATURES + FEATURES) == ["key 'features': 'pressure' is listed twice"]


def test_a_target_among_the_features_is_refused(tmp_path: Path) -> None:
    (told,) = refused(tmp_path, FEATURES + '[[features]]\nname = "quality"\n')
    assert told == "key 'target.column': 'quality' is a feature as well; a model must not see it"


def test_a_label_that_is_listed_twice_is_refused(tmp_path: Path) -> None:
    (told,) = refused(tmp_path, target='labels = ["good", "scrap", "good"]')
    assert told == "key 'target.labels': 'good' is listed twice"


@pytest.mark.parametrize("rows", ["5, 5", "6, 5"])
def test_rows_that_hold_no_row_are_refused(tmp_path: Path, rows: str) -> None:
    assert refused(tmp_path, data=f"rows = [{rows}]") == [f"key 'data.rows': {rows.replace(',', ' to')} holds no row"]


@pytest.mark.parametrize(
    ("task", "metric"), [("classification", "r2"), ("classification", "mae"), ("regression", "accuracy")]
)
def test_a_metric_that_does_not_judge_the_task_is_refused(tmp_path: Path, task: str, metric: str) -> None:
    path = write(tmp_path, target=f'metric = "{metric}"')
    path.write_text(path.read_text(encoding="utf-8").replace("classification", task), encoding="utf-8")
    assert problems(path) == [f"key 'target.metric': {metric!r} does not judge a {task}"]


def test_a_split_by_entity_without_an_entity_is_refused(tmp_path: Path) -> None:
    (told,) = refused(tmp_path, training='split = "entity"')
    assert told.startswith("key 'training.split': 'entity' needs the key 'data.entity'")


@pytest.mark.parametrize("rings", ["0.5", "0.1, 0.5", "0.5, 0.1, 1.0", "0.5, 0.5, 1.0", "1.0, 0.5"])
def test_rings_that_do_not_grow_to_the_whole_fleet_are_refused(tmp_path: Path, rings: str) -> None:
    assert refused(tmp_path, rollout=f"rings = [{rings}]") == ["key 'rollout.rings': shares must grow and end with 1.0"]


@pytest.mark.parametrize("webhook", ["", "example.org/told", "file:///etc/passwd"])
def test_a_webhook_that_is_no_address_is_refused(tmp_path: Path, webhook: str) -> None:
    (told,) = refused(tmp_path, alerts=f'webhook = "{webhook}"')
    assert told.startswith(f"key 'alerts.webhook': {webhook!r} is no address")


# --- files ------------------------------------------------------------------------------------------------------------


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert problems(tmp_path / "nowhere.toml") == ["cannot be read: No such file or directory"]
    with pytest.raises(ProjectError, match=rf"{FILE_NAME}: cannot be read"):
        load_project(tmp_path)


@pytest.mark.parametrize("content", [b"name = ", b"\xff\xfe", b"[data\n"])
def test_a_file_that_is_no_toml_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / FILE_NAME
    path.write_bytes(content)
    (told,) = problems(path)
    assert told.startswith("not a TOML file: ")


# --- raw readings -----------------------------------------------------------------------------------------------------

SIGNAL = """
[signal]
rate_hz = 100
size = 64
step = 32
bands = [{ low_hz = 5, high_hz = 15.5 }]
"""
CHANNEL = """
[[signal.channels]]
name = "x"
unit = "g"
statistics = ["rms", "zero_crossings", "band_energy"]
"""


def test_the_inputs_of_a_signal_are_the_features_of_its_windows(tmp_path: Path) -> None:
    project = load(tmp_path, SIGNAL + CHANNEL).project
    assert [(f.name, f.unit, f.on_missing) for f in project.features] == [
        ("x_rms", "g", "refuse"),
        ("x_zero_crossings", "", "refuse"),
        ("x_energy_5_15.5hz", "(g)²", "refuse"),
    ]
    assert project.signal is not None
    assert project.signal.label == "last"


def test_features_of_a_window_may_be_described(tmp_path: Path) -> None:
    described = '[[features]]\nname = "x_zero_crossings"\non_missing = "flag"\nvalid_max = 40\n'
    features = load(tmp_path, SIGNAL + CHANNEL + described).project.features
    assert [feature.name for feature in features] == ["x_rms", "x_zero_crossings", "x_energy_5_15.5hz"]
    assert (features[1].on_missing, features[1].valid_max) == ("flag", 40.0)


@pytest.mark.parametrize(
    ("signal", "lines", "told"),
    [
        (SIGNAL.replace("step = 32", "step = 65") + CHANNEL, {}, "key 'signal': a step of 65 leaves out"),
        (SIGNAL.replace("15.5", "50.5") + CHANNEL, {}, "above half the rate"),
        (SIGNAL + 'label = "mean"' + CHANNEL, {}, "key 'signal.label': 'mean' is of numbers"),
        (SIGNAL + 'label = "majority"' + CHANNEL, {"target": "regression"}, "'majority' is of names"),
        (SIGNAL + 'recording = "x"' + CHANNEL, {}, "key 'signal.channels': 'x' is not for the model to see"),
        (SIGNAL + CHANNEL.replace('"x"', '"quality"'), {}, "'quality' is not for the model to see"),
        (SIGNAL + CHANNEL, {"data": 'entity = "x"'}, "'x' is not for the model to see"),
        (
            SIGNAL + CHANNEL,
            {"data": 'timestamp = "t"'},
            "key 'data.timestamp': readings of a signal stand in the order",
        ),
        (SIGNAL + CHANNEL + FEATURES, {}, "key 'features': 'pressure' is no feature of a window; there are x_energy"),
        (
            SIGNAL + CHANNEL + '[[features]]\nname = "x_rms"\ndtype = "category"\ncategories = ["a"]\n',
            {},
            "key 'features': 'x_rms' is a number",
        ),
        (SIGNAL + "stride = 3" + CHANNEL, {}, "unknown key 'signal.stride'"),
        (SIGNAL + CHANNEL.replace("rms", "rmsd"), {}, "key 'signal.channels[0].statistics"),
    ],
)
def test_a_signal_that_makes_no_sense_is_refused(tmp_path: Path, signal: str, lines: dict[str, str], told: str) -> None:
    path = write(tmp_path, signal, **{name: text for name, text in lines.items() if name != "target"})
    if "target" in lines:
        edited = path.read_text(encoding="utf-8").replace('task = "classification"', 'task = "regression"')
        path.write_text(edited, encoding="utf-8")
    assert told in problems(path)[0]


def test_wilcoxon_is_refused_where_it_could_never_find_anything(tmp_path: Path) -> None:
    (told,) = refused(tmp_path, training='pruning = "wilcoxon"')
    assert told.startswith("key 'training.pruning': 'wilcoxon' finds nothing in fewer than 6 blocks")
    load(tmp_path, training='pruning = "wilcoxon"\nblocks = 6')


def test_a_detection_of_anomalies_has_two_labels_and_is_judged_by_both(tmp_path: Path) -> None:
    path = write(tmp_path, target='labels = ["good", "worn", "scrap"]')
    path.write_text(path.read_text(encoding="utf-8").replace("classification", "anomaly"), encoding="utf-8")
    (told,) = problems(path)
    assert told.startswith("key 'target.labels': an anomaly detection has two, the usual one first")
    path.write_text(path.read_text(encoding="utf-8").replace('"worn", ', ""), encoding="utf-8")
    assert load_project(path).project.metric == "balanced_accuracy"


# --- views of the feature store ---------------------------------------------------------------------------------------


def with_data(folder: Path, data: str) -> list[str]:
    path = write(folder)
    path.write_text(path.read_text(encoding="utf-8").replace('path = ["rows.csv"]', data), encoding="utf-8")
    return problems(path)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ("", "missing required field `data.path`"),
        ('path = ["r.csv"]\nlabels = "truths"', "key 'data.labels': is for rows that get their features from a view"),
        ('path = ["r.csv"]\nzone = "UTC"', "key 'data.zone': is for rows that get their features from a view"),
        ('view = "hourly"', "key 'data.view': the labelled rows are in files"),
        ('view = "hourly"\npath = ["r.csv"]\nlabels = "truths"', "key 'data.view': the labelled rows are in files"),
        ('view = "hourly"\npath = ["r.csv"]', "key 'data.view' needs the key 'data.timestamp'"),
        ('view = "hourly"\nlabels = "truths:x"', "key 'data.labels': 'truths:x' is a feature"),
        ('view = "hourly"\nlabels = "truths"\nepoch = "s"', "key 'data.zone': the view of labels says itself"),
        ('view = ["hourly:"]\nlabels = "truths"', "key 'data.view': 'hourly:' is neither VIEW nor VIEW:FEATURE"),
        ('view = ["a", "a"]\nlabels = "truths"', "key 'data.view': 'a' is listed twice"),
        (
            'view = "a"\npath = ["r.csv"]\ntimestamp = "t"\nzone = "Mars"',
            "key 'data.zone': there is no time zone 'Mars'",
        ),
    ],
)
def test_what_is_wrong_with_a_view_in_a_project_is_told(tmp_path: Path, data: str, told: str) -> None:
    (first,) = with_data(tmp_path, data)
    assert first.startswith(told)


def test_one_view_may_stand_without_a_list(tmp_path: Path) -> None:
    path = write(tmp_path)
    text = path.read_text(encoding="utf-8").replace('path = ["rows.csv"]', 'view = "hourly"\nlabels = "truths"')
    path.write_text(text, encoding="utf-8")
    loaded = load_project(path)
    assert loaded.project.data.views == ("hourly",)
    assert str(loaded.data_name) == "view truths"
    assert loaded.feature_store == str(tmp_path / ".fieldloop" / "features" / "store")


def test_labels_are_late_only_where_rows_have_a_time(tmp_path: Path) -> None:
    (told,) = refused(tmp_path, target="label_delay_s = 60.0")
    assert told.startswith("key 'target.label_delay_s' needs the key 'data.timestamp'")
    loaded = load(tmp_path, data='timestamp = "at"', target="label_delay_s = 60.0")
    assert loaded.project.target.label_delay_s == 60.0
    (told,) = refused(tmp_path, data='timestamp = "at"', target="label_delay_s = -1.0")
    assert told.startswith("key 'target.label_delay_s': ")


def test_whole_entities_do_not_judge_beside_rows_that_only_judge(tmp_path: Path) -> None:
    judging = "rows = [0, 5]\njudge = [5, 9]"
    (told,) = refused(tmp_path, data=f'{judging}\nentity = "unit"', training='split = "stratified"')
    assert told.startswith("key 'data.judge': 'training.split' is 'stratified'")
    load(tmp_path, data=judging, training='split = "stratified"')


@pytest.mark.parametrize("task", ["regression", "anomaly"])
def test_labels_that_there_are_none_of_are_not_weighed(tmp_path: Path, task: str) -> None:
    path = write(tmp_path, training='class_weights = ["balanced"]')
    path.write_text(path.read_text(encoding="utf-8").replace("classification", task), encoding="utf-8")
    (told,) = problems(path)
    assert told == f"key 'training.class_weights': a {task} weighs no labels; take it out"


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (
            {"target": "label_delay_s = 1.0", "data": 'timestamp = "at"'},
            "key 'target.label_delay_s': no row is labelled",
        ),
        ({"gate": 'slices = { "target=good" = 0.5 }'}, "key 'gate.slices'"),
        ({"gate": "max_alarms = 1.5"}, "key 'gate.max_alarms'"),
    ],
)
def test_rows_without_labels_are_for_detectors_and_cannot_be_used_for_everything(
    tmp_path: Path, lines: dict[str, str], told: str
) -> None:
    def unlabelled(**more: str) -> Path:
        path = write(tmp_path, **more)
        text = path.read_text(encoding="utf-8").replace(
            'column = "quality"\ntask = "classification"', 'task = "anomaly"'
        )
        path.write_text(text, encoding="utf-8")
        return path

    target = load_project(unlabelled()).project.target
    assert not target.is_labelled
    assert target.known_labels == ("usual", "anomaly")
    assert problems(unlabelled(**lines))[0].startswith(told)
