"""The coverage table: which families of models are exact, quantised or refused in which variant."""
