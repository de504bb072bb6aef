"""A request whose rows may name entities: taken apart, completed by what is looked up, and then scored as any other."""

from collections.abc import Sequence
from http import HTTPStatus

from edge_agent.bundle import Manifest
from edge_agent.raw_signal import columns_of as signal_columns
from edge_agent.sensing.http_message import HttpError
from edge_agent.sensing.inference_protocol import parse_tensor_rows, parse_tensors
from edge_agent.sensing.tensor_rows import columns_of, max_values
from edge_agent.sensing.tensors import Tensor, TensorError, TooLargeError
from trainer.serving.entities import Columns, Completed, EntityFeatures
from trainer.serving.inference import PredictionIds, Request


class NamedRequest:
    """A request whose rows may name entities, taken apart and not yet completed."""

    __slots__ = ("_inference", "_manifest", "_max_rows", "_tensors")

    def __init__(self, body: bytes, json_length: str | None, manifest: Manifest, max_rows: int) -> None:
        """Take a request apart; as `read_request`, whose words these are."""
        self._manifest = manifest
        self._max_rows = max_rows
        inputs = manifest.inputs
        columns = inputs.features if inputs.signal is None else signal_columns(inputs.signal)
        limit = max_values(columns, max_rows, inputs.signal)
        self._inference, self._tensors = parse_tensors(body, json_length, limit)

    def names_any_of(self, entities: EntityFeatures) -> bool:
        """Tell whether a row names an entity."""
        return self._manifest.inputs.signal is None and entities.are_named(tensor.name for tensor in self._tensors)

    def as_it_is(self, ids: PredictionIds) -> Request:
        """Return the request, which brings all that the model takes.

        Raises:
            HttpError: it does not.
        """
        inputs = self._manifest.inputs
        columns = inputs.features if inputs.signal is None else signal_columns(inputs.signal)
        rows = parse_tensor_rows(self._tensors, columns, self._max_rows, inputs.signal)
        return Request(self._inference, rows, inputs.signal, ids.take(len(rows)))

    def completed(self, entities: EntityFeatures) -> Completed:
        """Look up what it does not bring; any thread.

        Raises:
            HttpError: as `EntityFeatures.complete`, or its tensors are no rows.
        """
        n_rows, columns = _columns_of(self._tensors, self._max_rows)
        return entities.complete(columns, n_rows, self._manifest.inputs.features)

    def with_rows(self, completed: Completed, ids: PredictionIds) -> Request:
        """Return the request with what was looked up."""
        rows = completed.rows
        return Request(self._inference, rows, None, ids.take(len(rows)), completed.reasons)


def _columns_of(tensors: Sequence[Tensor], max_rows: int) -> tuple[int, Columns]:
    try:
        return columns_of(tensors, max_rows)
    except TooLargeError as error:
        raise HttpError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, str(error)) from error
    except TensorError as error:
        raise HttpError(HTTPStatus.BAD_REQUEST, str(error)) from error
