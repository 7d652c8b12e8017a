"""How the tests are shared out."""

import os

import pytest


@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="one process has all tests")
def test_the_tests_of_a_file_are_one_workers(request):
    """pytest-xdist adds the group to the name; else each worker makes every fixture anew."""
    assert request.node.nodeid.endswith("@test_conftest.py")
