"""Files of the feature store by address: a folder of this machine, or whatever fsspec reaches."""

from typing import Final

import fsspec

_S3: Final = "trainer.features.storage.s3.ArrowS3"

# By name, and loaded when it is asked for. In place of others: what is installed besides must change no answer.
for _scheme in ("s3", "s3a"):
    fsspec.register_implementation(_scheme, _S3, clobber=True)
