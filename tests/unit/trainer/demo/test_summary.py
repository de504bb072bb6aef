from broker.topics import parse_device
from trainer.demo.devices import DeviceProcess
from trainer.demo.shares import Share
from trainer.demo.summary import records_put


def test_a_device_that_was_ended_before_it_had_a_spool_has_sent_nothing(tmp_path):
    assert records_put(DeviceProcess(parse_device("device-1"), tmp_path, Share(0, 10, 1))) == 0
