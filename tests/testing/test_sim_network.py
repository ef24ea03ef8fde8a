"""The simulated network: each thing that can befall a packet."""

from __future__ import annotations

from statistics import median

import pytest

from codexdht.entropy import seeded
from codexdht.records import Endpoint
from codexdht.testing.events import EventLoop
from codexdht.testing.latency import Latency
from codexdht.testing.network import Addresses, Network, Weather

CALM = Weather(loss=0.0, jitter=0.0)


class Wires:
    """Two hosts, A and B, and what each has received: (time, data, source)."""

    def __init__(self, weather: Weather = CALM, *, nat: bool = False, traced: bool = False) -> None:
        self.loop = EventLoop()
        self.network = Network(self.loop, seeded(7), Latency(seed=7), weather, traced=traced)
        self.at_a: list[tuple[float, bytes, Endpoint]] = []
        self.at_b: list[tuple[float, bytes, Endpoint]] = []
        self.a = self.network.attach(
            ("11.0.0.1", 1), lambda d, s: self.at_a.append((self.loop.now, d, s)), nat=nat
        )
        self.b = self.network.attach(("11.0.1.1", 2), lambda d, s: self.at_b.append((self.loop.now, d, s)))

    def run(self) -> None:
        self.loop.run_for(5.0)


def test_events_run_in_order_of_time_and_then_of_asking() -> None:
    """Callbacks of one time run in the order in which they were asked for; none runs early."""
    loop, seen = EventLoop(), []
    for at, name in [(2.0, "c"), (1.0, "a"), (1.0, "b"), (9.0, "d")]:
        loop.at(at, seen.append, name)
    loop.run_until(2.0)
    assert (seen, loop.now, len(loop)) == (["a", "b", "c"], 2.0, 1)


def test_an_event_asked_for_in_the_past_runs_now() -> None:
    """Time never goes back."""
    loop, seen = EventLoop(), []
    loop.run_until(3.0)
    loop.at(1.0, lambda: seen.append(loop.now))
    loop.run_for(0.0)
    assert seen == [3.0]


def test_round_trips_have_the_median_asked_for_and_a_log_normal_spread() -> None:
    """Median 100 ms; with sigma 0.5 the 95th percentile is 2.28 times that."""
    latency = Latency(0.1, 0.5, seed=3)
    trips = sorted(2 * latency.between(a, b) for a in range(150) for b in range(a))
    assert median(trips) == pytest.approx(0.1, rel=0.05)
    assert trips[int(len(trips) * 0.95)] == pytest.approx(0.228, rel=0.1)


def test_a_pair_has_one_delay_in_both_directions() -> None:
    """A pair's delay is fixed, and differs from that of other pairs and seeds."""
    latency = Latency(seed=3)
    assert latency.between(4, 9) == latency.between(9, 4)
    assert latency.between(4, 9) != latency.between(4, 10)
    assert latency.between(4, 9) != Latency(seed=4).between(4, 9)


def test_a_packet_arrives_after_the_delay_with_its_source() -> None:
    """Without jitter a packet takes exactly the pair's delay."""
    wires = Wires()
    wires.network.send(wires.a, b"hello", wires.b.address)
    wires.run()
    assert wires.at_b == [(wires.network.latency.between(1, 2), b"hello", wires.a.address)]


def test_jitter_makes_packets_later_by_a_bounded_share() -> None:
    """Jitter is at most the share that was asked for."""
    wires = Wires(Weather(loss=0.0, jitter=0.5))
    for _ in range(50):
        wires.network.send(wires.a, b"", wires.b.address)
    wires.run()
    base = wires.network.latency.between(1, 2)
    times = [t for t, _, _ in wires.at_b]
    assert base <= min(times) < max(times) <= 1.5 * base


@pytest.mark.parametrize("loss", [0.0, 0.25, 1.0])
def test_loss_takes_its_share(loss: float) -> None:
    """Lost packets are counted and do not arrive."""
    wires = Wires(Weather(loss=loss))
    for _ in range(1000):
        wires.network.send(wires.a, b"", wires.b.address)
    wires.run()
    assert (
        len(wires.at_b) == 1000 - wires.network.counters["lost"] == pytest.approx(1000 * (1 - loss), abs=60)
    )


def test_duplicated_packets_arrive_twice() -> None:
    """A duplicate is the same datagram, on its own way."""
    wires = Wires(Weather(loss=0.0, duplication=1.0))
    wires.network.send(wires.a, b"x", wires.b.address)
    wires.run()
    assert [d for _, d, _ in wires.at_b] == [b"x", b"x"]


def test_reordering_lets_packets_overtake() -> None:
    """Packets that are held back arrive behind later ones."""
    wires = Wires(Weather(loss=0.0, jitter=0.0, reordering=0.5, holdback=1.0))
    for i in range(20):
        wires.network.send(wires.a, bytes([i]), wires.b.address)
    wires.run()
    order = [d[0] for _, d, _ in wires.at_b]
    assert sorted(order) == list(range(20)) != order


def test_a_partition_stops_packets_until_it_heals() -> None:
    """Packets pass within a side only; after healing everywhere."""
    wires = Wires()
    wires.network.partition(lambda address: int(address == wires.a.address))
    wires.network.send(wires.a, b"1", wires.b.address)
    wires.network.heal()
    wires.network.send(wires.a, b"2", wires.b.address)
    wires.run()
    assert [d for _, d, _ in wires.at_b] == [b"2"]
    assert wires.network.counters["partitioned"] == 1


def test_a_nat_lets_in_answers_only_and_not_for_ever() -> None:
    """Unasked packets are refused; those of an endpoint that was written to come in, for two minutes."""
    wires = Wires(nat=True)
    wires.network.send(wires.b, b"unasked", wires.a.address)
    wires.run()
    wires.network.send(wires.a, b"question", wires.b.address)
    wires.network.send(wires.b, b"answer", wires.a.address)
    wires.run()
    wires.loop.run_for(120.0)
    wires.network.send(wires.b, b"late", wires.a.address)
    wires.run()
    assert [d for _, d, _ in wires.at_a] == [b"answer"]
    assert wires.network.counters["nat_refused"] == 2


def test_packets_to_nobody_are_counted_also_when_it_left_meanwhile() -> None:
    """A node that goes loses what is under way to it."""
    wires = Wires()
    wires.network.send(wires.a, b"", ("11.9.9.9", 1))
    wires.network.send(wires.a, b"", wires.b.address)
    wires.network.detach(wires.b)
    wires.run()
    assert wires.network.counters["nobody_there"] == 2
    assert wires.at_b == []


def test_an_address_belongs_to_one_node() -> None:
    """Attaching twice is the caller's mistake."""
    wires = Wires()
    with pytest.raises(ValueError, match="taken"):
        wires.network.attach(wires.a.address, lambda _data, _source: None)


def test_every_host_has_a_network_of_its_own() -> None:
    """The /24s and /64s that are given out differ, and all are public."""
    addresses = Addresses()
    v4 = {addresses.ipv4()[0].rsplit(".", 1)[0] for _ in range(70_000)}
    v6 = {addresses.ipv6()[0] for _ in range(70_000)}
    assert (len(v4), len(v6)) == (70_000, 70_000)


def test_the_trace_depends_on_what_arrives() -> None:
    """Equal runs have equal traces; one byte makes another."""

    def trace(data: bytes) -> str:
        wires = Wires(traced=True)
        wires.network.send(wires.a, data, wires.b.address)
        wires.run()
        return wires.network.trace

    assert trace(b"x") == trace(b"x") != trace(b"y")
