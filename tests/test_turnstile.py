"""The fast lane of the one writer: the door waits for one other at most, and starves nobody."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from app.core.turnstile import Turnstile


def order(turnstile: Turnstile, *comers: tuple[str, bool]) -> list[str]:
    """Who got through, when all came in this order while somebody was in."""
    got: list[str] = []

    def go(name: str, first: bool) -> None:
        with turnstile.through(first=first):
            got.append(name)

    threads = []
    with turnstile.through():
        for at, (name, first) in enumerate(comers, 1):
            threads.append(threading.Thread(target=go, args=(name, first)))
            threads[-1].start()
            while len(turnstile._first) + len(turnstile._rest) < at:
                pass
    for thread in threads:
        thread.join(10)
    return got


@pytest.mark.parametrize(
    ("comers", "expected"),
    [
        pytest.param("abc", "abc", id="in the order of arrival"),
        pytest.param("abD", "Dab", id="the door before all that wait"),
        pytest.param("aDEb", "DaEb", id="never twice in a row while another waits"),
        pytest.param("DEF", "DEF", id="nobody else there"),
    ],
)
def test_who_comes_next(comers: str, expected: str) -> None:
    """Capitals come by the fast lane."""
    assert "".join(order(Turnstile(), *((c, c.isupper()) for c in comers))) == expected


class OneLane(Turnstile):
    """Saboteur: nobody goes before others."""

    def _acquire(self, first: bool) -> None:
        super()._acquire(False)


def test_without_the_fast_lane_the_door_waits_for_all() -> None:
    assert order(OneLane(), ("a", False), ("b", False), ("D", True)) == ["a", "b", "D"]


def test_only_one_is_in_at_a_time() -> None:
    """Whoever comes, from many threads at once; and an error inside lets the next one in."""
    turnstile, inside, most = Turnstile(), [0], [0]

    def go(first: bool) -> None:
        for _ in range(300):
            try:
                with turnstile.through(first=first):
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                    inside[0] -= 1
                    raise KeyError
            except KeyError:
                pass

    threads = [threading.Thread(target=go, args=(n % 3 == 0,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert most == [1]
    assert not any(thread.is_alive() for thread in threads)


def test_who_gives_up_waiting_leaves_the_lane(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a signal does to the main thread."""
    turnstile = Turnstile()
    real: Callable[[], threading.Lock] = threading.Lock

    class Broken:
        """A ticket that is never given."""

        def __init__(self) -> None:
            self.asked = 0

        def acquire(self) -> bool:
            self.asked += 1
            if self.asked == 2:
                raise KeyboardInterrupt
            return True

        def release(self) -> None:
            raise AssertionError("it had left the lane")

    with turnstile.through():
        monkeypatch.setattr(threading, "Lock", Broken)
        with pytest.raises(KeyboardInterrupt), turnstile.through():
            pass
        monkeypatch.setattr(threading, "Lock", real)
    with turnstile.through():
        pass
