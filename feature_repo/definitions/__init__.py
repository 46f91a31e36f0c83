"""What Feast knows: entities, sources, views and the service of the price model.

:mod:`feature_repo.definitions.market` makes the objects from an address and the settings;
:mod:`feature_repo.definitions.repository` holds them for the environment's settings, for `feast apply`.
"""

SERVICE = "price_model_v1"
"""The feature service that training and serving both read."""
