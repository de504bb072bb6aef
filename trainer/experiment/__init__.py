"""The experiment: what is in the data, what can be learnt from it, and where the model fails; one page for people.

It uses the pipeline's own steps, so that what it sees is what production will see; it keeps no record of itself
beside its report and never touches the registry.
"""
