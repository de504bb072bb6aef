"""The production pipeline: from the project's rows to a promoted bundle.

Steps are plain functions with typed inputs and outputs; `runner` runs, records and resumes them; decisions are pure.
Rows are ``(n_rows, n_features) float32`` (NaN missing, categories as index), truths ``(n_rows,) float64``, outputs
``(n_rows, n_outputs) float64``: probabilities by label, or one value.
"""
