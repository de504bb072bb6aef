from tests.unit.trainer.monitoring.test_rates import clock, test_a_flood_is_counted_in_the_store_and_told_once_an_hour

# The others open no store.
__all__ = ["clock", "test_a_flood_is_counted_in_the_store_and_told_once_an_hour"]
