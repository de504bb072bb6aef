"""Answers messages that came together, with the model that answers now: as many answers, in the same order."""

from collections import Counter
from collections.abc import Mapping, Sequence

from edge_agent.errors import RowError
from edge_agent.scoring.schema import MALFORMED, RawRow, RawValue, Unreadable
from edge_agent.sensing.http_message import HttpError
from trainer.serving.entities import EntityFeatures, StoreAwayError
from trainer.serving.inference import Rows, refusal_of
from trainer.serving.model import ServedModel
from trainer.serving.service import Service
from trainer.serving.topics import messages
from trainer.serving.topics.messages import Row, parse_message

NOT_A_ROW = "the message is no row: send a JSON object of feature names and values, or an array in the model's order"


class Answering:
    """Answers for one service; its coroutine belongs to the service's event loop."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def answers(self, payloads: Sequence[bytes], ids: Sequence[str]) -> list[bytes]:
        """Return an answer to each message; a message that is no row, or is refused, is answered with the reason.

        Args:
            payloads: ``(n,)`` messages.
            ids: ``(n,)`` of their predictions.

        Raises:
            HttpError: they cannot be answered now.
        """
        service, model = self._service, self._service.holder.model
        model.enter()
        try:
            rows = [parse_message(payload) for payload in payloads]
            raw, reasons = await self._completed(model, rows)
            scored = Rows(raw, None, ids)
            outcomes = await service.scored(model, scored, scored.score)
        finally:
            model.leave()
        at_utc_s, bundle = service.clock.utc_s(), model.manifest.ref
        n_refused = sum(isinstance(outcome, RowError) for outcome in outcomes)
        service.metrics.count_rows(model, len(rows) - n_refused, n_refused)
        told: list[bytes] = []
        for row, id_, outcome, reason in zip(rows, ids, outcomes, reasons, strict=True):
            if not isinstance(outcome, RowError) and row is not None:
                told.append(messages.answer_of(row, id_, at_utc_s, bundle, outcome))
            else:
                why = _why(outcome, reason) if isinstance(outcome, RowError) else reason
                told.append(messages.refusal_of(row, at_utc_s, bundle, why))
        return told

    async def _completed(self, model: ServedModel, rows: Sequence[Row | None]) -> tuple[list[RawRow], list[str]]:
        """Return the rows as the model takes them, and why one is none, or why values of it are missing."""
        features = model.manifest.inputs.features
        raw = [_as_it_is(row, features) for row in rows]
        reasons = ["" if row is not None else NOT_A_ROW for row in rows]
        entities = self._service.entities
        if entities is None:
            return raw, reasons
        named = {
            place: {name: value for name, value in row.columns.items() if name in features or name in entities.keys}
            for place, row in enumerate(rows)
            if row is not None and row.columns is not None and entities.are_named(row.columns)
        }
        if named:
            counts: Counter[tuple[str, str]] = Counter()
            found = await self._service.look_up(entities, lambda: _looked_up(entities, named, features, counts))
            self._service.metrics.count_entities(counts)
            for place, (values, reason) in found.items():
                raw[place], reasons[place] = values, reason
        return raw, reasons


def _as_it_is(row: Row | None, features: Sequence[str]) -> RawRow:
    if row is None:
        return Unreadable()
    return row.values if row.columns is None else [row.columns.get(name) for name in features]


def _looked_up(
    entities: EntityFeatures,
    named: Mapping[int, Mapping[str, RawValue]],
    features: Sequence[str],
    counts: Counter[tuple[str, str]],
) -> dict[int, tuple[RawRow, str]]:
    """Complete rows, those of the same columns together; where they cannot be, each by itself. Counts who was found."""
    alike: dict[frozenset[str], list[int]] = {}
    for place, columns in named.items():
        alike.setdefault(frozenset(columns), []).append(place)
    found: dict[int, tuple[RawRow, str]] = {}
    for names, places in alike.items():
        together = {name: [named[place][name] for place in places] for name in names}
        try:
            completed = entities.complete(together, len(places), features)
        except StoreAwayError:
            raise
        except HttpError as error:
            if len(places) == 1:
                found[places[0]] = Unreadable(), str(error)
            else:
                for place in places:
                    found |= _looked_up(entities, {place: named[place]}, features, counts)
        else:
            counts.update(completed.counts)
            found |= dict(zip(places, zip(completed.rows, completed.reasons, strict=True), strict=True))
    return found


def _why(error: RowError, reason: str) -> str:
    return f"{MALFORMED}: {reason}" if reason and error.kind == MALFORMED else refusal_of(error, reason)
