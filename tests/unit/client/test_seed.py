"""An export baked into an image."""

import json
from pathlib import Path

import pytest

from central_hub_client import seed
from tests.unit.client.objects import SERVICE, config_object


def test_the_service_s_own_entry_is_found_in_a_list_and_alone(tmp_path: Path) -> None:
    entries = [config_object(1, service="billing"), config_object(2), config_object(3, environment="staging")]
    path = tmp_path / "seed.json"
    path.write_text(json.dumps([entry.to_json() for entry in entries]))
    assert seed.read(path, SERVICE, "default") == entries[1]
    path.write_text(json.dumps(entries[1].to_json()))
    assert seed.read(path, SERVICE, "default") == entries[1]
    assert seed.read(path, SERVICE, "production") is None


@pytest.mark.parametrize("content", ["", "5", '[{"service": 1}]', '{"a": 1, "a": 2}', "null"])
def test_a_seed_that_cannot_be_read_is_an_error(tmp_path: Path, content: str) -> None:
    path = tmp_path / "seed.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"."):
        seed.read(path, SERVICE, "default")


def test_a_seed_whose_hash_is_wrong_is_an_error() -> None:
    with pytest.raises(ValueError, match="hash"):
        seed.find(config_object(2, hash="sha256:0").to_json(), SERVICE, "default")
