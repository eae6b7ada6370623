"""What a run found, for people and for programs."""

from __future__ import annotations

import json
from dataclasses import replace

from tests.bench.meshes import Size
from tests.bench.report import Change, Connect, Memory, Report, Restart, Spread


def a_change() -> Change:
    return Change(
        rounds=2,
        to_last_ack=Spread(p50=20.0, p99=30.5, max=30.5),
        streams=300,
        deliveries=600,
        resources_per_delivery=1.0,
        bytes_per_delivery=1200,
        cpu_us_per_delivery=90,
        client_cpu_us_per_delivery=20,
        cpu_ms_per_round=27.0,
        children_cpu_ms_per_round=9.0,
        translations={"assignment": 1.0},
    )


def a_report() -> Report:
    return Report(
        size=Size(),
        machine={"cores": 2, "cpu": "a CPU", "python": "3.11.7", "grpcio": "1.85.1"},
        ready_ms=900.0,
        connect=Connect(
            each=Spread(p50=400.0, p99=700.0, max=710.5),
            all_ms=900.0,
            resources=255000,
            bytes=259_500_000,
            cpu_ms_per_stream=4.5,
            loop_stall_ms=31.0,
        ),
        endpoint_change=a_change(),
        route_change=a_change(),
        idle_cpu_percent=0.7,
        loop_stall_ms=42.0,
        memory=Memory(connected_mb=170.0, changed_mb=180.0, max_mb=190.0, restarted_mb=171.0),
        restart=Restart(ready_ms=950.0, all_current_ms=1800.0, resources=0, bytes=27000),
    )


def test_quantiles_are_of_the_nearest_rank() -> None:
    assert Spread.of([number / 1000 for number in range(1, 201)]) == Spread(p50=100, p99=198, max=200)
    assert Spread.of([0.002]) == Spread(p50=2, p99=2, max=2)


def test_a_table_has_a_line_for_everything_measured() -> None:
    assert a_report().as_table().splitlines()[5:12] == [
        "connect to current                 p50 400 ms, p99 700 ms, max 710.5 ms; the whole fleet 900 ms",
        "                                   255000 resources, 259.5 MB",
        "                                   4.5 ms of CPU per stream",
        "endpoint change to last ACK        p50 20 ms, p99 30.5 ms, max 30.5 ms (2 commits)",
        "                                   300 streams, 1200 bytes each",
        "                                   90 us of CPU per push (27 ms per commit)",
        "                                   20 us of the client's CPU per push",
    ]


def test_json_has_all_values_and_says_that_all_is_well() -> None:
    said = json.loads(a_report().as_json())

    assert (said["ok"], said["broken"]) == (True, [])
    assert said["endpoint_change"]["to_last_ack"] == {"p50": 20.0, "p99": 30.5, "max": 30.5}
    assert said["size"]["streams"] == 300


def test_a_promise_that_does_not_hold_is_named() -> None:
    report = replace(
        a_report(),
        restart=Restart(ready_ms=950.0, all_current_ms=1800.0, resources=300, bytes=90000),
        route_change=replace(a_change(), resources_per_delivery=2.0),
    )

    assert report.broken == (
        "one route's change sends each stream one resource",
        "a restart sends nothing that proxies already have",
    )
    assert report.as_table().splitlines()[-1] == "BROKEN: a restart sends nothing that proxies already have"
