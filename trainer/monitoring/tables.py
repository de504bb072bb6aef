"""The tables of the fleet's store. What is queried has a column; the rest of a body is kept as it came.

Every spooled record is named by (device, epoch, sequence), and that name is unique in `records` and in the table of its
body: whatever arrives twice is there once.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

SCHEMA_VERSION = 1

METADATA = MetaData()

# SQLite numbers rows by itself only in a column of type INTEGER.
_Number = BigInteger().with_variant(Integer, "sqlite")


def _record_name() -> tuple[Column[str], Column[int], Column[int]]:
    return (
        Column("device", String(64), nullable=False),
        Column("epoch", BigInteger, nullable=False),
        Column("sequence", BigInteger, nullable=False),
    )


SCHEMA = Table("schema_version", METADATA, Column("version", Integer, primary_key=True))

RECORDS = Table(
    "records",
    METADATA,
    Column("device", String(64), primary_key=True),
    Column("epoch", BigInteger, primary_key=True, autoincrement=False),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("previous", BigInteger, nullable=False),
    Column("channel", String(16), nullable=False),
    Column("received_utc_s", Float, nullable=False),
    sqlite_with_rowid=False,
)

MARKS = Table(
    "marks",
    METADATA,
    Column("device", String(64), primary_key=True),
    Column("epoch", BigInteger, primary_key=True, autoincrement=False),
    Column("through", BigInteger, nullable=False),
    Column("resent", BigInteger, nullable=False),
    Column("updated_utc_s", Float, nullable=False),
)

WINDOWS = Table(
    "windows",
    METADATA,
    Column("id", _Number, primary_key=True),
    *_record_name(),
    Column("bundle", String(64), nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("variant", String(128), nullable=False),
    Column("started_utc_s", Float, nullable=False),
    Column("ended_utc_s", Float, nullable=False),
    Column("received_utc_s", Float, nullable=False),
    Column("first_row", BigInteger, nullable=False),
    Column("last_row", BigInteger, nullable=False),
    Column("rows_scored", BigInteger, nullable=False),
    Column("rows_refused", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    UniqueConstraint("device", "epoch", "sequence"),
    Index("windows_by_bundle", "bundle", "version", "id"),
    Index("windows_by_device", "device", "id"),
)

SAMPLES = Table(
    "samples",
    METADATA,
    Column("id", _Number, primary_key=True),
    Column("device", String(64), nullable=False),
    Column("prediction_id", String(128), nullable=False),
    Column("bundle", String(64), nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("scored_utc_s", Float, nullable=False),
    Column("received_utc_s", Float, nullable=False),
    Column("features", LargeBinary, nullable=False),
    Column("prediction", Float, nullable=False),
    Column("confidence", Float, nullable=False),
    Column("agrees", Boolean, nullable=False),
    Column("reason", String(128), nullable=False),
    Column("ask_id", String(128)),
    # A device names its predictions, so that one device cannot take another's names.
    UniqueConstraint("device", "prediction_id"),
    Index("samples_by_ask", "ask_id"),
    Index("samples_by_bundle", "bundle", "version", "id"),
)

LABELS = Table(
    "labels",
    METADATA,
    Column("device", String(64), primary_key=True),
    Column("prediction_id", String(128), primary_key=True),
    Column("label_text", String(128)),
    Column("label_value", Float),
    Column("known_utc_s", Float, nullable=False),
    Column("received_utc_s", Float, nullable=False),
    Column("source", String(128), nullable=False),
)

EVENTS = Table(
    "events",
    METADATA,
    Column("id", _Number, primary_key=True),
    *_record_name(),
    Column("kind", String(128), nullable=False),
    Column("at_utc_s", Float, nullable=False),
    Column("received_utc_s", Float, nullable=False),
    Column("severity", String(128), nullable=False),
    Column("reason", Text, nullable=False),
    Column("bundle", String(64)),
    Column("version", BigInteger),
    Column("order_id", String(128)),
    UniqueConstraint("device", "epoch", "sequence"),
    Index("events_by_order", "order_id"),
)

# Beside their events, which tell people the same in words.
SHADOWS = Table(
    "shadows",
    METADATA,
    Column("id", _Number, primary_key=True),
    *_record_name(),
    Column("at_utc_s", Float, nullable=False),
    Column("bundle", String(64), nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("against_bundle", String(64), nullable=False),
    Column("against_version", BigInteger, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("disagreements", BigInteger, nullable=False),
    Column("difference_sum", Float, nullable=False),
    Column("refused", BigInteger, nullable=False),
    Column("dropped", BigInteger, nullable=False),
    Column("median_latency_us", Float, nullable=False),
    UniqueConstraint("device", "epoch", "sequence"),
)

STATUSES = Table(
    "statuses",
    METADATA,
    Column("device", String(64), primary_key=True),
    Column("online", Boolean, nullable=False),
    Column("received_utc_s", Float, nullable=False),
    Column("bundle", String(64)),
    Column("version", BigInteger),
    Column("update_state", String(128), nullable=False),
    Column("body", LargeBinary, nullable=False),
)

BUNDLE_HISTORY = Table(
    "bundle_history",
    METADATA,
    Column("id", _Number, primary_key=True),
    Column("device", String(64), nullable=False, index=True),
    Column("since_utc_s", Float, nullable=False),
    Column("bundle", String(64)),
    Column("version", BigInteger),
    Column("variant", String(128)),
)

REFUSED = Table(
    "refused",
    METADATA,
    Column("device", String(64), primary_key=True),
    Column("channel", String(16), primary_key=True),
    Column("kind", String(64), primary_key=True),
    Column("messages", BigInteger, nullable=False),
    Column("last_utc_s", Float, nullable=False),
    Column("last_reason", Text, nullable=False),
    Column("last_payload", LargeBinary, nullable=False),
)

ORDERS = Table(
    "orders",
    METADATA,
    Column("id", _Number, primary_key=True),
    Column("order_id", String(128), nullable=False),
    Column("device", String(64), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("bundle", String(64)),
    Column("version", BigInteger),
    Column("before_bundle", String(64)),
    Column("before_version", BigInteger),
    Column("by", String(128), nullable=False),
    Column("reason", Text, nullable=False),
    Column("issued_utc_s", Float, nullable=False),
    Column("sent_utc_s", Float),
    Column("body", LargeBinary, nullable=False),
    UniqueConstraint("order_id", "device"),
)

DECISIONS = Table(
    "decisions",
    METADATA,
    Column("id", _Number, primary_key=True),
    Column("kind", String(32), nullable=False),
    Column("at_utc_s", Float, nullable=False),
    Column("scope", String(80), nullable=False),
    Column("verdict", String(32), nullable=False),
    Column("reason", Text, nullable=False),
    Column("evidence", Text, nullable=False),
    Index("decisions_by_kind", "kind", "id"),
)

ROLLOUTS = Table(
    "rollouts",
    METADATA,
    Column("order_id", String(128), primary_key=True),
    Column("number", _Number, nullable=False, index=True),
    Column("state", Text, nullable=False),
)

STORY = Table(
    "story",
    METADATA,
    Column("fleet", String(64), primary_key=True),
    Column("state", Text, nullable=False),
)
