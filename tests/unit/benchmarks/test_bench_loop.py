from benchmarks.bench_loop import Device, Outcome, Summary, outcome_of


def test_accuracies_are_compared_on_the_rows_after_the_first_switch() -> None:
    summary = Summary(0.625, 0.75, (Device(10, 0.9),))
    assert outcome_of(summary) == Outcome(62.5, 75.0, has_switched=True)


def test_a_loop_that_never_switched_gained_nothing() -> None:
    summary = Summary(None, None, (Device(30, 0.5), Device(10, 0.9), Device(0, None)))
    assert outcome_of(summary) == Outcome(60.0, 60.0, has_switched=False)
