"""Ids are text: numbers sort as numbers, and every id gives a number to draw from."""

from __future__ import annotations

import random

from lumbargrade.domain.ids import id_number, id_order

UID = "1.2.826.0.1.3680043.10.1561.7"


def test_numbers_sort_as_numbers_and_uids_behind_them() -> None:
    numbers = [random.Random(0).randrange(10**10) for _ in range(50)]
    shuffled = [UID, *map(str, numbers)]
    assert sorted(shuffled, key=id_order) == [*map(str, sorted(numbers)), UID]


def test_a_number_is_its_own_seed_and_other_ids_have_one_that_stays() -> None:
    assert id_number("4003253") == 4003253
    assert len({id_number(f"{UID}.{i}") for i in range(100)}) == 100
    assert id_number(UID) == 10741851147507187162
