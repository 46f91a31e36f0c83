"""The online stores that the tests of the feature repository run on."""

from __future__ import annotations

import pytest
from feature_cases import settings_of

from graildient.settings import FeatureSettings


@pytest.fixture(params=("sqlite", "redis"))
def settings(request: pytest.FixtureRequest) -> FeatureSettings:
    """History on each of the two online stores."""
    return settings_of(request, request.param)
