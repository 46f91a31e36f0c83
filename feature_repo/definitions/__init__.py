"""What Feast knows: entities, sources, views and the service of the price model.

:mod:`feature_repo.definitions.market` makes the objects from an address and the settings;
:mod:`feature_repo.definitions.repository` holds them for the environment's settings, for `feast apply`.
"""

SERVICE = "price_model_v1"
"""The feature service that training and serving both read."""

MARKET_SERVICE = "market_v2"
"""Every feature of every view, for analysis and for models to come."""
