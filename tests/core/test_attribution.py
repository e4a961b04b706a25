"""Attributions in a prompt: short, and helpful about what is not there."""

import pytest

from resnet_viz.core.attribution import Attribution, Attributions
from resnet_viz.core.pictures import Picture


def test_a_prompt_shows_no_bytes_of_pictures():
    picture = Picture(name="a", width=1, height=1, media_type="image/png", data=b"x" * 5000)
    item = Attribution(method="DeepLIFT", name="deep_lift", input=0, target="class 3")
    found = Attributions(pictures=(picture,), maps=(item, item))

    assert repr(found) == "<Attributions: 2 maps by deep_lift>"


def test_a_method_that_is_not_there_names_those_that_are():
    item = Attribution(method="DeepLIFT", name="deep_lift", input=0, target="class 3")
    found = Attributions(pictures=(), maps=(item,))

    with pytest.raises(KeyError, match="no attribution by 'nope'; there are: deep_lift"):
        found["nope"]
