"""Turns at what cameras share."""

from __future__ import annotations

from threading import Event, Thread

from edge_client.turns import Turns


def test_whoever_has_waited_longest_goes_next():
    turns, order, ready = Turns(), [], [Event() for _ in range(3)]

    def work(number: int) -> None:
        ready[number].set()
        with turns:
            order.append(number)

    threads = [Thread(target=work, args=(number,)) for number in range(3)]
    with turns:
        for number, thread in enumerate(threads):
            thread.start()
            ready[number].wait()
            while turns.waiting < number + 2:  # it stands in line
                pass
    for thread in threads:
        thread.join()
    assert order == [0, 1, 2]


def test_one_that_comes_back_stands_behind_all_that_wait():
    turns, order = Turns(), []

    def camera(name: str) -> None:
        for _ in range(20):
            with turns:
                order.append(name)
                while turns.waiting < least[0]:  # until all others stand in line
                    pass
        with turns:
            least[0] -= 1

    least = [3]
    threads = [Thread(target=camera, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(set(order[i : i + 3]) == set("abc") for i in range(0, 54, 3))
    assert turns.waiting == 0


def test_an_error_lets_the_next_one_go():
    turns = Turns()
    for _ in range(2):
        try:
            with turns:
                raise ValueError
        except ValueError:
            pass
    assert turns.waiting == 0
