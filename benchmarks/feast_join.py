"""Feast's file store on the same rows: run by the Python of an environment that has Feast, and nothing of ours.

``feast_join.py FOLDER``: reads ``rows.parquet`` and ``asked.parquet`` there; for every line it is given it joins once,
and prints the seconds. The last answer lies in ``feast.parquet``. What is measured is its documented way from rows that
ask to a data frame that is answered; the definition of the store, reading what asks and starting Python are not.
"""

import sys
import time
from datetime import timedelta
from pathlib import Path

import pandas as pd
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.types import Float64


def main(folder: Path) -> None:
    asked = pd.read_parquet(folder / "asked.parquet")
    names = [name for name in pd.read_parquet(folder / "rows.parquet").columns if name.startswith("f")]
    config = RepoConfig(
        project="bench",
        provider="local",
        registry=str(folder / "registry.db"),
        offline_store={"type": "file"},
        online_store={"type": "sqlite", "path": str(folder / "online.db")},
        entity_key_serialization_version=3,
    )
    store = FeatureStore(config=config)
    machine = Entity(name="machine", join_keys=["machine"], value_type=ValueType.STRING)
    view = FeatureView(
        name="wide",
        entities=[machine],
        # Longer than the span, as on the other side.
        ttl=timedelta(days=3650),
        schema=[Field(name=name, dtype=Float64) for name in names],
        source=FileSource(path=str(folder / "rows.parquet"), timestamp_field="at"),
        online=False,
    )
    store.apply([machine, view])
    features = [f"wide:{name}" for name in names]
    print("ready", flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        found = store.get_historical_features(entity_df=asked, features=features).to_df()
        took = time.perf_counter() - start
        found.to_parquet(folder / "feast.parquet")
        print(f"{took:.6f}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
