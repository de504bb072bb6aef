"""The agent's settings: what is read, what is refused, and in which words."""

import re
from pathlib import Path

import pytest

from edge_agent.errors import SettingsError
from edge_agent.settings import AgentSettings, load_settings, problems_here

GOOD = """
device = "station-1"
fleet = "weather"
[repository]
url = "http://127.0.0.1:8080"
root = "root.json"
model = "rain"
[source]
kind = "csv"
path = "rows.csv"
"""
# How long something lasts: a time that ends, and one that a timer can be set to.
TIMES = (
    "repository.timeout_s",
    "repository.min_bytes_per_s",
    "repository.stage_timeout_s",
    "repository.retry_min_s",
    "repository.retry_max_s",
    "telemetry.resend_after_s",
    "telemetry.max_window_s",
    "source.rows_per_second",
)


def load(folder: Path, text: str) -> AgentSettings:
    path = folder / "agent.toml"
    path.write_text(text, encoding="utf-8")
    return load_settings(path)


def test_what_is_left_out_has_its_default(tmp_path: Path):
    settings = load(tmp_path, GOOD)
    assert (settings.broker.host, settings.broker.port) == ("127.0.0.1", 1883)
    assert settings.source.at_end == "wait"
    assert settings.sink.kind == "none"
    assert settings.telemetry.max_label_share == 0.3
    assert settings.scoring.prefer == ()


def test_paths_are_relative_to_the_settings_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    settings = load(tmp_path, GOOD + '[sink]\nkind = "json_lines"\npath = "out/answers.jsonl"\n')
    assert settings.state == str(tmp_path / "state")
    assert settings.repository.root == str(tmp_path / "root.json")
    assert settings.source.path == str(tmp_path / "rows.csv")
    assert settings.sink.path == str(tmp_path / "out/answers.jsonl")


def test_stdin_stays_stdin_and_absolute_paths_stay(tmp_path: Path):
    text = GOOD.replace('"csv"', '"json_lines"').replace('"rows.csv"', '"-"').replace('"root.json"', '"/etc/root.json"')
    settings = load(tmp_path, text)
    assert settings.source.path == "-"
    assert settings.repository.root == "/etc/root.json"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('device = "station-1"', 'devise = "station-1"', "unknown key 'devise'; did you mean 'device'?"),
        ("model =", "modle =", "unknown key 'repository.modle'; did you mean 'repository.model'?"),
        ('"csv"', '"cvs"', "source.kind"),
        ('path = "rows.csv"', "path = 3", "source.path"),
        ('device = "station-1"', 'device = "Station 1"', "key 'device'"),
        ('fleet = "weather"', 'fleet = "a/b"', "key 'fleet'"),
        ('"http://127.0.0.1:8080"', '"127.0.0.1:8080"', "not an http:// or https:// address"),
        ('"http://127.0.0.1:8080"', '"file:///etc"', "not an http:// or https:// address"),
        ('path = "rows.csv"', 'path = "-"', "only the source 'json_lines' reads stdin"),
        ('path = "rows.csv"', 'path = "rows.csv"\ncolumns = ["a", "a"]', "named twice"),
        ('path = "rows.csv"', 'path = "rows.csv"\nstep = 0', "source.step"),
        ('path = "rows.csv"', 'path = "rows.csv"\nrows_per_second = 0', "source.rows_per_second"),
        ('path = "rows.csv"', 'path = "rows.csv"\n[sink]\nkind = "json_lines"', "key 'sink.path': missing"),
        ('path = "rows.csv"', 'path = "rows.csv"\n[broker]\nport = 70000', "broker.port"),
        ('path = "rows.csv"', 'path = "rows.csv"\n[telemetry]\nmax_label_share = 1.5', "telemetry.max_label_share"),
        ('model = "rain"', 'model = "rain"\nretry_min_s = 100\nretry_max_s = 1', "repository.retry_min_s"),
        ('path = "rows.csv"', "", "key 'source.path': missing; the source 'csv' needs a file"),
        ('kind = "csv"\npath = "rows.csv"', 'kind = "socket"', "key 'source.path': missing"),
        ('kind = "csv"\npath = "rows.csv"', 'kind = "mqtt"', "key 'source.topic': missing"),
        ('kind = "csv"\npath = "rows.csv"', 'kind = "python"', "key 'source.factory': missing"),
        ('kind = "csv"\npath = "rows.csv"', 'kind = "http"\nport = 0', "source.port"),
        ('kind = "csv"\npath = "rows.csv"', 'kind = "http"\nmax_body_bytes = 1', "source.max_body_bytes"),
        ('kind = "csv"\npath = "rows.csv"', 'kind = "http"\nmax_waiting_rows = 5000', "source.max_waiting_rows"),
        ('kind = "csv"\npath = "rows.csv"', 'kind = "http"\nkeep = "maybe"', "source.keep"),
        ('kind = "csv"\npath = "rows.csv"', 'kind = "mqtt"\ntopic = "a/b+/c"', "key 'source.topic': + stands for one"),
        ('kind = "csv"\npath = "rows.csv"', 'kind = "mqtt"\ntopic = "a/#/c"', "key 'source.topic': + stands for one"),
        ('kind = "csv"\npath = "rows.csv"', 'kind = "mqtt"\ntopic = "a\\u0000"', "source.topic"),
        ('kind = "csv"\npath = "rows.csv"', 'kind = "mqtt"\ntopic = "a"\npassword_env = "P"', "key 'source.username'"),
        ('path = "rows.csv"', 'path = "rows.csv"\n[sink]\nkind = "mqtt"', "key 'sink.topic': missing"),
        (
            'path = "rows.csv"',
            'path = "rows.csv"\n[sink]\nkind = "mqtt"\ntopic = "a/+"',
            "answers are published on one",
        ),
        ('path = "rows.csv"', 'path = "rows.csv"\n[sink]\nkind = "python"', "key 'sink.factory': missing"),
        ('path = "rows.csv"', 'path = "rows.csv"\n[sink]\nkind = "stdout"\nkept_files = -1', "sink.kept_files"),
        ('path = "rows.csv"', 'path = "rows.csv"\noptions = { device = [1] }', "source.options"),
        ("[source]", "[source", "not a TOML file"),
        ("http://127.0.0.1:8080", "http://[127.0.0.1", "is not an http:// or https:// address"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, old: str, new: str, said: str):
    assert old in GOOD
    with pytest.raises(SettingsError) as refused:
        load(tmp_path, GOOD.replace(old, new))
    assert said in str(refused.value)
    assert "agent.toml" in str(refused.value)


def test_all_contradictions_are_named_at_once(tmp_path: Path):
    text = GOOD.replace("station-1", "Station").replace("weather", "Weather").replace("http:", "ftp:")
    with pytest.raises(SettingsError) as refused:
        load(tmp_path, text)
    lines = str(refused.value).splitlines()
    assert len(lines) == 3
    assert all("agent.toml: key" in line for line in lines)


def test_a_file_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(SettingsError, match=r"nowhere\.toml: cannot be read"):
        load_settings(tmp_path / "nowhere.toml")


def test_what_the_machine_lacks_is_named(tmp_path: Path):
    blocked = tmp_path / "blocked"
    blocked.write_text("a file, no folder", encoding="utf-8")
    text = GOOD.replace('fleet = "weather"', f'fleet = "weather"\nstate = "{blocked}/state"')
    settings = load(tmp_path, text)
    problems = problems_here(settings)
    assert [problem.split(":")[0] for problem in problems] == [
        "key 'repository.root'",
        "key 'source.path'",
        "key 'state'",
    ]
    for name in ("root.json", "rows.csv"):
        (tmp_path / name).write_text("x", encoding="utf-8")
    assert problems_here(load(tmp_path, GOOD)) == ()


@pytest.mark.parametrize(
    "place",
    [
        'kind = "socket"\npath = "run/rows.sock"',
        'kind = "mqtt"\ntopic = "press/+/rows"\nusername = "agent"',
        'kind = "mqtt"\ntopic = "#"',
        'kind = "http"\nhost = "0.0.0.0"\nport = 8000',
        'kind = "python"\nfactory = "json:loads"\noptions = { device = "/dev/ttyUSB0", baud = 9600, is_loud = true }',
    ],
)
def test_every_kind_of_source_loads_and_needs_nothing_that_is_not_there(tmp_path: Path, place: str):
    (tmp_path / "root.json").write_text("x", encoding="utf-8")
    settings = load(tmp_path, GOOD.replace('kind = "csv"\npath = "rows.csv"', place))
    assert problems_here(settings) == ()


def test_a_password_that_is_not_in_the_environment_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "root.json").write_text("x", encoding="utf-8")
    mqtt = 'kind = "mqtt"\ntopic = "a"\nusername = "agent"\npassword_env = "FIELDLOOP_TEST_PASSWORD"'
    settings = load(tmp_path, GOOD.replace('kind = "csv"\npath = "rows.csv"', mqtt))
    monkeypatch.delenv("FIELDLOOP_TEST_PASSWORD", raising=False)
    (problem,) = problems_here(settings)
    assert problem.startswith("key 'source.password_env'")
    monkeypatch.setenv("FIELDLOOP_TEST_PASSWORD", "x")
    assert problems_here(settings) == ()


def test_an_empty_file_is_refused_by_its_first_missing_key(tmp_path: Path):
    with pytest.raises(SettingsError, match="device"):
        load(tmp_path, "")


def test_every_wrong_key_is_named_on_a_line_of_its_own(tmp_path: Path):
    text = GOOD.replace("device", "devise").replace("model =", "modle =").replace('"csv"', '"cvs"')
    with pytest.raises(SettingsError) as refused:
        load(tmp_path, text + "step = 0\nrows_per_second = true\n")
    told = [line.partition("agent.toml: ")[2] for line in str(refused.value).splitlines()]
    assert [line.split(";")[0] for line in told] == [
        "unknown key 'devise'",
        "unknown key 'repository.modle'",
        "missing required field `repository.model`",
        "key 'source.kind': unknown value 'cvs'",
        "key 'source.step': expected `int` >= 1",
        "key 'source.rows_per_second': expected `float | null`, got `bool`",
        "missing required field `device`",
    ]


def settings_with(path: Path, key: str, value: str) -> Path:
    """Write settings of which only one value is not the default's."""
    section, name = key.split(".")
    tables = {
        "repository": 'url = "http://127.0.0.1:8080"\nroot = "root.json"\nmodel = "rain"\n',
        "source": 'kind = "csv"\npath = "rows.csv"\n',
        "telemetry": "",
    }
    tables[section] += f"{name} = {value}\n"
    text = 'device = "station-1"\nfleet = "weather"\n'
    text += "".join(f"[{table}]\n{lines}" for table, lines in tables.items())
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("value", ["inf", "-inf", "nan", "1e300", "0.0"])
@pytest.mark.parametrize("key", TIMES)
def test_a_time_that_never_ends_is_refused_by_its_key(tmp_path: Path, key: str, value: str):
    with pytest.raises(SettingsError, match=f"key '{key}': expected `float"):
        load_settings(settings_with(tmp_path / "agent.toml", key, value))


@pytest.mark.parametrize("key", [key for key in TIMES if key != "repository.retry_min_s"])
def test_a_week_is_a_time(tmp_path: Path, key: str):
    load_settings(settings_with(tmp_path / "agent.toml", key, "604800"))


def test_a_certificate_needs_its_key_and_a_broker_that_is_known(tmp_path: Path):
    with pytest.raises(SettingsError) as refusal:
        load(tmp_path, GOOD + '[broker]\ncertificate = "device.pem"\n')
    assert "key 'broker.certificate': it and broker.key belong together" in str(refusal.value)
    assert "key 'broker.ca': missing" in str(refusal.value)


def test_files_of_tls_are_relative_to_the_settings_file_and_looked_for(tmp_path: Path):
    settings = load(tmp_path, GOOD + '[broker]\nca = "ca.pem"\ncertificate = "d.pem"\nkey = "d.key"\n')
    assert settings.broker.ca == str(tmp_path / "ca.pem")
    assert settings.broker.key == str(tmp_path / "d.key")
    missing = [problem for problem in problems_here(settings) if "'broker." in problem]
    assert [problem.split("'")[1] for problem in missing] == ["broker.ca", "broker.certificate", "broker.key"]


MQTT = GOOD.replace('kind = "csv"\npath = "rows.csv"', 'kind = "mqtt"\ntopic = "rows"\nusername = "press"\n%s')


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ('password_file = "p"\npassword_env = "P"', "key 'source.password_env': source.password_file is there too"),
        ('certificate = "c"', "key 'source.certificate': it and source.key belong together"),
        ('certificate = "c"\nkey = "k"', "key 'source.ca': missing"),
    ],
)
def test_half_an_identity_at_a_local_broker_is_refused(tmp_path: Path, lines: str, told: str):
    with pytest.raises(SettingsError, match=re.escape(told)):
        load(tmp_path, MQTT % lines)


@pytest.mark.parametrize("line", ['username = "press"', 'ca = "ca.pem"'])
def test_nobody_is_left_to_believe_that_http_is_secured(tmp_path: Path, line: str):
    with pytest.raises(SettingsError, match="the source 'http' has no TLS and no password"):
        load(tmp_path, GOOD.replace('kind = "csv"\npath = "rows.csv"', f'kind = "http"\n{line}'))


@pytest.mark.parametrize(
    ("content", "mode", "told"),
    [
        (b"secret\n", 0o600, None),
        (b"secret\n", 0o604, "everybody may read"),
        (b"\n", 0o600, "is empty"),
        (b"\xff\xfe", 0o600, "holds no text"),
        (None, 0o600, "No such file"),
    ],
)
def test_a_password_s_file_is_looked_at_before_it_is_needed(
    tmp_path: Path, content: bytes | None, mode: int, told: str | None
):
    (tmp_path / "root.json").touch()
    if content is not None:
        (tmp_path / "p").write_bytes(content)
        (tmp_path / "p").chmod(mode)
    problems = problems_here(load(tmp_path, MQTT % 'password_file = "p"'))
    assert len(problems) == (told is not None)
    if told is not None:
        assert "source.password_file" in problems[0]
        assert told in problems[0]
        assert "secret" not in problems[0]


def test_files_of_a_local_broker_are_relative_to_the_settings_file(tmp_path: Path):
    source = load(tmp_path, MQTT % 'ca = "ca.pem"\npassword_file = "p"').source
    assert (source.ca, source.password_file) == (str(tmp_path / "ca.pem"), str(tmp_path / "p"))
    assert source.certificate is None


ENROLMENT = '[enrolment]\nurl = "https://fleet.example:8884"\nca = "ca.pem"\ntoken_file = "token"\n'


def test_files_of_enrolment_are_relative_to_the_settings_file_and_looked_for(tmp_path: Path):
    settings = load(tmp_path, GOOD + ENROLMENT)
    assert settings.enrolment is not None
    assert (settings.enrolment.ca, settings.enrolment.token_file) == (str(tmp_path / "ca.pem"), str(tmp_path / "token"))
    # A token need not be there; the root must.
    assert [problem.split("'")[1] for problem in problems_here(settings) if "'enrolment" in problem] == ["enrolment.ca"]


def test_a_device_that_enrols_needs_openssl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    settings = load(tmp_path, GOOD + ENROLMENT)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert any("apt-get install openssl" in problem for problem in problems_here(settings))


@pytest.mark.parametrize(
    "url", ["http://fleet.example", "https://", "https://h/path", "fleet.example:8884", "https://[", "https://h:99999"]
)
def test_enrolment_takes_an_address_by_https(tmp_path: Path, url: str):
    with pytest.raises(SettingsError, match=r"enrolment\.url"):
        load(tmp_path, GOOD + ENROLMENT.replace("https://fleet.example:8884", url))


def test_enrolment_and_a_certificate_by_hand_exclude_each_other(tmp_path: Path):
    by_hand = '[broker]\nca = "ca.pem"\ncertificate = "d.pem"\nkey = "d.key"\n'
    with pytest.raises(SettingsError, match=r"leave it and broker\.key out"):
        load(tmp_path, GOOD + by_hand + ENROLMENT)


def test_a_pause_that_begins_above_its_bound_is_a_mistake(tmp_path: Path):
    with pytest.raises(SettingsError, match=r"enrolment\.retry_min_s"):
        load(tmp_path, GOOD + ENROLMENT + "retry_min_s = 7200.0\n")


def test_a_star_in_the_name_is_this_machine(tmp_path: Path):
    if not Path("/etc/machine-id").exists() and not Path("/proc/device-tree/serial-number").exists():
        pytest.skip("nothing tells this machine from others")
    name = load(tmp_path, re.sub(r'device = "[^"]*"', 'device = "press-*"', GOOD)).device
    assert re.fullmatch(r"press-[0-9a-f]{10}", name)
