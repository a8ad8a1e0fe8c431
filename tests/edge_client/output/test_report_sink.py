"""Results of the device as observations, and as lines of what changes."""

from __future__ import annotations

import json

from edge_client.output.report_sink import ReportSink, observation
from splitnet.outputs.change_feed import Observation
from splitnet.outputs.outputs_config import OutputsConfig
from splitnet.outputs.reporter import Reporter
from splitnet.outputs.tracker import Sighting
from tests.support.client_samples import NAMES, result


def test_a_result_is_an_observation():
    found = observation(result(1), "yard", NAMES)
    car = Sighting("car", found.sightings[0].score, (4.0, 5.0, 30.0, 40.0))
    other = Sighting("99", 0.5, (found.sightings[1].box[0], 1.0, 20.0, 9.0))
    assert found == Observation("yard", 1796047358.25, 64, 48, [car, other])


def test_what_changes_is_written_as_lines(tmp_path):
    path = tmp_path / "events.jsonl"
    config = OutputsConfig(events_out=path, classes=["car"], report_as="yard")
    sink = ReportSink(Reporter(config, "device", lambda: 1796047361.0), NAMES)
    for frame_id in (1, 2, 3):
        sink.write(result(frame_id))
    sink.close()
    (line,) = map(json.loads, path.read_text().splitlines())
    assert (line["type"], line["after"]["camera"], line["after"]["label"]) == ("new", "yard", "car")
