"""The same model behind MLServer: one tensor of rows through ONNX Runtime, with nothing around it.

MLServer imports it in an environment of its own (requirements/mlserver.txt), where this project's packages are not.
"""

import onnxruntime as ort
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class OnnxRows(MLModel):  # type: ignore[misc]  # MLServer is not where types are checked
    """Answers the probabilities of each row of the first input."""

    async def load(self) -> bool:
        """Open the file that ``parameters.uri`` of the model's settings names."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        uri = self.settings.parameters.uri
        self._session = ort.InferenceSession(uri, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name
        (self._output,) = [each.name for each in self._session.get_outputs() if each.type == "tensor(float)"]
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Answer one request."""
        rows = NumpyCodec.decode_input(payload.inputs[0])
        (answers,) = self._session.run([self._output], {self._input: rows})
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("probabilities", answers)])
