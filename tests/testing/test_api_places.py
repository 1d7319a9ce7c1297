"""What was said of the datasets of an API in memory ends with it: its port may be another API's a moment later."""

from __future__ import annotations

from tongqu.testing.api_places import ApiPlaces


def test_the_next_api_of_an_address_knows_nothing_of_the_one_before() -> None:
    places: ApiPlaces[str, str] = ApiPlaces()
    with places.running("http://127.0.0.1:4000", "one") as api:
        places.said("http://127.0.0.1:4000")["items"] = "v is a timestamp"
        assert (api, places.said("http://127.0.0.1:4000")) == ("one", {"items": "v is a timestamp"})
    with places.running("http://127.0.0.1:4000", "another"):
        assert places.api("http://127.0.0.1:4000") == "another"
        assert places.said("http://127.0.0.1:4000") == {}
