"""Files of the feature store by address: a folder of this machine, or whatever fsspec reaches."""
