"""One loopback service a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mmearth.curate.sources.earthengine import session, sign_in
from mmearth.tests.earthengine.evaluate import Evaluate
from mmearth.tests.earthengine.server import TOKEN, Server
from mmearth.tests.integration.ee_rules.asking import Ask
from mmearth.tests.integration.ee_rules.scenes import World


@pytest.fixture(scope="module")
def ask() -> Iterator[Ask]:
    """A way to ask a loopback service; whatever it is asked, it must not crash."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(sign_in.TOKEN, TOKEN)
        with Server(Evaluate(World().archive())).running() as running:
            yield Ask(running)
        assert running.crashes == []
        session.close()
