"""What a connector that claims HOOKS promises of the subscriptions at its vendor."""

from __future__ import annotations

from connectors.contract import Can
from tests.promise import Promises, promise

URL = "https://tandem.example/webhooks/mine"


class Hooks(Promises):
    """See the module."""

    @promise(Can.HOOKS)
    def test_a_subscription_is_made_once(self) -> None:
        """Ours is there after ``hook``, under our URL without a query; asked for again, nothing is made twice."""
        stage = self.stage()
        before = list(stage.it.hooks())
        made = stage.it.hook(URL)
        assert made.hooks, "it made nothing"
        ours = [h for h in stage.it.hooks() if h.url == URL]
        assert {h.id for h in made.hooks} == {h.id for h in ours}
        assert all(h.on is not False and not h.lacks and not h.missing for h in ours), "it is off, or tells too little"
        again = stage.it.hook(URL)
        assert {h.id for h in again.hooks} == {h.id for h in ours}
        assert len(stage.it.hooks()) == len(before) + len(ours), "others are gone, or something was made twice"

    @promise(Can.HOOKS)
    def test_a_subscription_is_removed(self) -> None:
        """By its id; that of others stays; one that is not there is removed already."""
        stage = self.stage()
        before = {h.id for h in stage.it.hooks()}
        ids = [h.id for h in stage.it.hook(URL).hooks]
        for _ in range(2):
            for one in ids:
                stage.it.unhook(one)
            assert {h.id for h in stage.it.hooks()} == before
