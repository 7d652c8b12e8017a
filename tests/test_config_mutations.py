"""Mutated configurations: each is valid, or one line that names a key. Run by hand for more:

python tests/test_config_mutations.py FIRST_SEED SEEDS
"""

import random
import sys
from copy import deepcopy

import pytest
import yaml
from helpers import ROOT

from ra.config import load_config
from ra.errors import UserError

BASES = [ROOT / "config.yaml", *sorted((ROOT / "workflow/presets").glob("*.yaml"))]
NAMES = [
    "",
    " ",
    "none",
    "é猫",
    "a\nb",
    "../x",
    "{x}",
    "'",
    "-1",
    "1e-3",
    "null",
    "on",
    "0x10",
    "~",
]
VALUES = [None, True, False, 0, -1, 1, 2**70, 0.5, -0.5, 1e308, float("nan"), float("inf")]
VALUES += [[], {}, [[]], [None], {"a": {}}, {"": 0}, {0: 1}, {None: 1}, {True: []}, *NAMES]


def mutated(seed: int) -> dict:
    """One of the project's configurations with one to three values or keys changed."""
    rng = random.Random(seed)
    config = yaml.safe_load(rng.choice(BASES).read_text())
    for _ in range(rng.randint(1, 3)):
        place, key = config, None
        while isinstance(place, dict) and place and (key is None or rng.random() < 0.7):
            above, key = place, rng.choice(sorted(place, key=str))
            place = place[key]
        how = rng.random()
        if how < 0.6:
            above[key] = deepcopy(rng.choice(VALUES))
        elif how < 0.8:
            above[rng.choice(NAMES)] = above.pop(key)
        elif isinstance(place, list) and place:
            place[rng.randrange(len(place))] = deepcopy(rng.choice(VALUES))
        else:
            del above[key]
    return config


def check(seed: int) -> bool:
    """Whether the mutated configuration is valid; AssertionError where its fault is no line."""
    config = mutated(seed)
    try:
        load_config(config)
    except UserError as error:
        said = str(error)
        assert said and "\n" not in said and len(said) < 600, (seed, said)
        return False
    except Exception as error:
        raise AssertionError(f"seed {seed}: {type(error).__name__}: {error}") from error
    return True


@pytest.mark.parametrize("first", range(0, 400, 100))
def test_a_mutated_configuration_is_valid_or_one_line(first):
    found = [check(seed) for seed in range(first, first + 100)]
    assert 5 < sum(found) < 95  # both happen


if __name__ == "__main__":
    begin, count = map(int, sys.argv[1:])
    valid = sum(check(seed) for seed in range(begin, begin + count))
    print(f"{count} configurations, {valid} valid, {count - valid} refused in one line")
