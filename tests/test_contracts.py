"""Every registered part keeps the contract of its kind: the names come from the registry."""

import pytest

from importance_sampling import registered
from importance_sampling.registry import KINDS
from tests.contracts import CONTRACTS, cases, id_of


@pytest.mark.parametrize(("check", "names"), cases(registered), ids=id_of)
def test_contract(check, names):
    check(*names)


def test_every_kind_has_a_contract():
    assert set(CONTRACTS) == set(KINDS)
