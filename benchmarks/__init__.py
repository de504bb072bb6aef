"""Benchmarks: ours beside a peer in one run, with fixed seeds; ratios are printed, and written as data.

Each area is one module ``bench_AREA.py``; ``make bench-AREA`` runs it and writes ``build/bench/AREA.json``. Absolute
times depend on the machine and its load, ratios of one run hardly do: so what is recorded is a ratio. A benchmark looks
like this::

    def bench_the_agents_row_against_the_bare_call(record_ratio):
        times = alternate(lambda: agent.score(row), lambda: session.run(None, feed), rounds=500)
        record_ratio(
            "agent's row / bare call", ours=times.ours_us, peer=times.peer_us, reach=1.5, unit="us", runs=times.runs
        )

or, where pytest-benchmark's own loop is wanted, ``benchmark.stats.stats.median`` on either side. A goal out of reach
does not fail the run: it is printed as not met.
"""
