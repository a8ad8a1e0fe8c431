"""Every kind of encoder that is trained has one entry; the others are refused by name."""

from __future__ import annotations

import pytest

from splitnet.errors import ConfigError
from splitnet.nn.encoder.projection import ProjectionSpec
from splitnet.nn.encoder_kinds import KINDS
from training.distillation.recipe import RECIPES
from training.distillation.trained_kinds import TRAINED_KINDS, kind_of


def test_each_kind_that_has_a_recipe_is_trained():
    assert TRAINED_KINDS.keys() == RECIPES.keys()


def test_a_kind_without_training_is_refused_by_name():
    assert {kind for kind in KINDS if kind not in TRAINED_KINDS} == {ProjectionSpec.kind}
    with pytest.raises(ConfigError, match=r"front\+pca is not trained: choose front, sliced-front, front-ens"):
        kind_of(ProjectionSpec)
