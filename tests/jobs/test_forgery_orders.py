"""Sides of the split and donors: nothing of one side gets into the other."""

from __future__ import annotations

import pytest

from forensics.records import ManifestRow
from jobs.forgery_orders import orders_of


def photos(count: int) -> list[ManifestRow]:
    return [ManifestRow(f"photo {n}", f"{n}.jpg", f"camera{n % 3}") for n in range(count)]


@pytest.mark.parametrize(("count", "share"), [(4, 0.01), (5, 0.9), (40, 0.2), (400, 0.3)])
def test_splices_take_from_photos_of_their_side(count: int, share: float) -> None:
    rows = photos(count)
    orders = orders_of(rows, share, least=2, per_photo=4, seed=count)
    assert [order.row for order in orders] == sorted(rows, key=lambda row: row.image_id)
    split = {order.row.image_id: order.split for order in orders}
    held_out = sum(side == "validation" for side in split.values())
    assert 2 <= held_out <= count - 2
    assert held_out == pytest.approx(share * count, abs=max(2, 0.06 * count))
    for order in orders:
        assert len(order.donors) == 4
        assert order.row not in order.donors
        assert {split[donor.image_id] for donor in order.donors} == {order.split}
        if count >= 40:
            assert order.row.camera_id not in {donor.camera_id for donor in order.donors}


def test_a_side_follows_from_the_photo_s_name_alone() -> None:
    def sides(count: int, seed: int) -> dict[str, str]:
        orders = orders_of(photos(count), 0.2, least=1, per_photo=2, seed=seed)
        return {order.row.image_id: order.split for order in orders}

    few, many = sides(60, 1), sides(300, 2)
    assert few == sides(60, 3) == {name: many[name] for name in few}
    donors = [[o.donors for o in orders_of(photos(60), 0.2, 1, 2, seed)] for seed in (1, 2)]
    assert donors[0] != donors[1]


def test_a_photo_alone_on_its_side_has_no_donors() -> None:
    orders = orders_of(photos(5), 0.01, least=1, per_photo=2, seed=0)
    [alone] = [order for order in orders if order.split == "validation"]
    assert alone.donors == ()
