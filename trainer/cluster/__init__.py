"""Work on the machines of a Dask cluster: what they need is sent once to each, and each must be as we are.

Who may reach a scheduler runs code on every machine of its cluster, and the cluster runs code here: Dask pickles. It is
for machines that trust each other, behind a firewall or with ``tls://``. Dask's types stay in here.
"""
