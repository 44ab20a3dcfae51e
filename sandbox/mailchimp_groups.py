"""What a Mailchimp audience asks its members: groups (categories of interests) and GDPR marketing permissions.

In: requests, members as sent.  Out: answers, and what is kept.  Ids belong to the audience.  Sources: the Marketing
API's contract 3.0.55 (interest categories, interests; permissions have no endpoint, only members show them); how a
webhook tells of groups: deliveries quoted in public code (``GROUPINGS``, ``unique_id``, ``groups``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from sandbox.front import Json
from sandbox.mailchimp_http import Routes, answer, body, rows
from sandbox.mailchimp_rules import invalid, not_found

TYPES = ("checkboxes", "dropdown", "radio", "hidden")  # contract, how a category stands on the form

_STOCK = {"Interests": ("Products", "Events", "Offers")}
_PERMISSIONS = ("Email", "Direct Mail", "Customized Online Advertising")  # what an audience begins with


def _id(*parts: object) -> str:
    """Ten hex digits, the form of most of Mailchimp's ids; the same every time."""
    return hashlib.md5(":".join(map(str, parts)).encode()).hexdigest()[:10]


@dataclass(slots=True)
class Category:
    """One group title with its interests, id -> name."""

    id: str
    number: int  # the id of old, which webhooks still tell
    title: str
    type: str = "checkboxes"
    order: int = 0
    interests: dict[str, str] = field(default_factory=dict)


class Questions:
    """The groups and permissions of one audience."""

    def __init__(self, list_id: str, *, gdpr: bool, lenient: bool) -> None:
        """``gdpr``: whether its GDPR fields are switched on; without them there are no permissions.

        ``lenient``: a permission that it does not have is passed over; else it is refused.  Neither is documented.
        """
        self.list_id = list_id
        self.gdpr = gdpr
        self.lenient = lenient
        self.categories: dict[str, Category] = {}
        self.texts = {_id(list_id, "permission", text): text for text in _PERMISSIONS}
        self._made = 0
        for title, names in _STOCK.items():
            category = self.add(title)
            for name in names:
                self.add_interest(category, name)

    # --- what there is ------------------------------------------------------------------------------------------------

    @property
    def interests(self) -> dict[str, str]:
        """All interests, id -> name."""
        return {id_: name for category in self.categories.values() for id_, name in category.interests.items()}

    @property
    def permissions(self) -> Mapping[str, str]:
        """All marketing permissions, id -> text."""
        return self.texts if self.gdpr else {}

    def interest(self, name: str) -> str:
        """The id of an interest.  KeyError where there is none of this name."""
        return {n: i for i, n in self.interests.items()}[name]

    def permission(self, text: str) -> str:
        """The id of a permission.  KeyError where there is none of this text."""
        return {t: i for i, t in self.texts.items()}[text]

    def add(self, title: str, type_: str = "checkboxes", order: int | None = None) -> Category:
        """A new category, empty."""
        self._made += 1
        id_ = _id(self.list_id, "category", self._made)
        order = len(self.categories) if order is None else order
        self.categories[id_] = Category(id_, 6000 + self._made, title, type_, order)
        return self.categories[id_]

    def add_interest(self, category: Category, name: str) -> str:
        """A new interest; its id."""
        self._made += 1
        id_ = _id(self.list_id, "interest", self._made)
        category.interests[id_] = name
        return id_

    # --- members ------------------------------------------------------------------------------------------------------

    def chosen(self, given: Mapping[str, Any]) -> dict[str, bool]:
        """The interests in a member as sent.  Raises 400 for one that the audience does not have."""
        found = dict(given.get("interests", {}))
        if unknown := next((i for i in found if i not in self.interests), None):
            raise invalid(detail=f"Invalid interest ID: '{unknown}'.")
        return found

    def permitted(self, given: Mapping[str, Any]) -> dict[str, bool]:
        """The permissions in a member as sent: those that are not named stay as they are (not documented)."""
        sent = [r for r in given.get("marketing_permissions", []) if isinstance(r, Mapping)]
        found = {str(r.get("marketing_permission_id")): r.get("enabled") is True for r in sent}
        unknown = next((i for i in found if i not in self.permissions), None)
        if unknown is not None and not self.lenient:
            raise invalid(detail=f"Invalid marketing permission ID: '{unknown}'.")
        return {i: on for i, on in found.items() if i in self.permissions}

    def shown(self, interests: Mapping[str, bool], permissions: Mapping[str, bool]) -> dict[str, Any]:
        """What a member shows.  Without any group there is no ``interests``, without GDPR fields no permissions."""
        said: dict[str, Any] = {}
        if known := self.interests:
            said["interests"] = {i: interests.get(i, False) for i in known}
        if self.permissions:
            said["marketing_permissions"] = [
                {"marketing_permission_id": i, "text": text, "enabled": permissions.get(i, False)}
                for i, text in self.permissions.items()
            ]
        return said

    def told(self, interests: Mapping[str, bool]) -> dict[str, Any]:
        """The merges of a webhook that tell of groups, by name; of permissions none does.

        ``INTERESTS`` holds the first category only, ``GROUPINGS`` all of them (deliveries quoted in public code).
        """
        if not self.categories:
            return {}
        groupings = {
            str(at): {
                "id": category.number,
                "unique_id": category.id,
                "name": category.title,
                "groups": ", ".join(_escaped(n) for i, n in category.interests.items() if interests.get(i, False)),
            }
            for at, category in enumerate(self.categories.values())
        }
        return {"INTERESTS": groupings["0"]["groups"], "GROUPINGS": groupings}


class QuestionPages:
    """The endpoints over them."""

    def __init__(self, questions: Questions, members: Callable[[], Iterator[dict[str, bool]]]) -> None:
        """``members``: the interests of each member."""
        self._questions = questions
        self._members = members

    def routes(self) -> Routes:
        """See the class."""
        categories = "/lists/{list_id}/interest-categories"
        interests = f"{categories}/{{category}}/interests"
        return [
            ("GET", categories, self._categories),
            ("POST", categories, self._add),
            ("GET", f"{categories}/{{category}}", self._category),
            ("PATCH", f"{categories}/{{category}}", self._change),
            ("DELETE", f"{categories}/{{category}}", self._drop),
            ("GET", interests, self._interests),
            ("POST", interests, self._add_interest),
            ("GET", f"{interests}/{{interest}}", self._interest),
            ("PATCH", f"{interests}/{{interest}}", self._change_interest),
            ("DELETE", f"{interests}/{{interest}}", self._drop_interest),
        ]

    async def _categories(self, request: Request) -> Response:
        self._here(request)
        wanted = request.query_params.get("type")
        found = [self._shown(c) for c in self._questions.categories.values() if wanted in (None, c.type)]
        return rows(request, "categories", found, list_id=self._questions.list_id)

    async def _add(self, request: Request) -> Response:
        self._here(request)
        title, type_, order = _asked(await body(request), "title", "type")
        return Json(self._shown(self._questions.add(title, type_, order)))

    async def _category(self, request: Request) -> Response:
        return answer(request, self._shown(self._named(request)))

    async def _change(self, request: Request) -> Response:
        category = self._named(request)
        title, type_, order = _asked(await body(request), "title", "type")
        category.title, category.type = title, type_
        category.order = category.order if order is None else order
        return Json(self._shown(category))

    async def _drop(self, request: Request) -> Response:
        category = self._named(request)
        for id_ in category.interests:
            self._forget(id_)
        del self._questions.categories[category.id]
        return Response(status_code=204)

    async def _interests(self, request: Request) -> Response:
        category = self._named(request)
        found = [self._shown_interest(category, id_) for id_ in category.interests]
        return rows(request, "interests", found, category_id=category.id, list_id=self._questions.list_id)

    async def _add_interest(self, request: Request) -> Response:
        category = self._named(request)
        name, _, _ = _asked(await body(request), "name")
        if name in category.interests.values():
            raise invalid(detail=f'Cannot add "{name}" because it already exists on the list.')
        return Json(self._shown_interest(category, self._questions.add_interest(category, name)))

    async def _interest(self, request: Request) -> Response:
        return answer(request, self._shown_interest(*self._one(request)))

    async def _change_interest(self, request: Request) -> Response:
        category, id_ = self._one(request)
        category.interests[id_], _, _ = _asked(await body(request), "name")
        return Json(self._shown_interest(category, id_))

    async def _drop_interest(self, request: Request) -> Response:
        category, id_ = self._one(request)
        del category.interests[id_]
        self._forget(id_)
        return Response(status_code=204)

    def _shown(self, category: Category) -> dict[str, Any]:
        return {
            "list_id": self._questions.list_id,
            "id": category.id,
            "title": category.title,
            "display_order": category.order,
            "type": category.type,
        }

    def _shown_interest(self, category: Category, id_: str) -> dict[str, Any]:
        return {
            "category_id": category.id,
            "list_id": self._questions.list_id,
            "id": id_,
            "name": category.interests[id_],
            "subscriber_count": str(sum(chosen.get(id_, False) for chosen in self._members())),
            "display_order": list(category.interests).index(id_),
        }

    def _forget(self, id_: str) -> None:
        for chosen in self._members():
            chosen.pop(id_, None)

    def _named(self, request: Request) -> Category:
        self._here(request)
        category = self._questions.categories.get(request.path_params["category"])
        if category is None:
            raise not_found()
        return category

    def _one(self, request: Request) -> tuple[Category, str]:
        category, id_ = self._named(request), request.path_params["interest"]
        if id_ not in category.interests:
            raise not_found()
        return category, id_

    def _here(self, request: Request) -> None:
        if request.path_params["list_id"] != self._questions.list_id:
            raise not_found()


def _asked(given: Mapping[str, Any], name: str, kind: str | None = None) -> tuple[str, str, int | None]:
    """(name, type, display order) of a category or an interest as sent; both texts are required (contract)."""
    title, type_, order = given.get(name), given.get(kind, "") if kind is not None else "", given.get("display_order")
    if not isinstance(title, str) or not title:
        raise invalid((name, "This value should not be blank."))
    if kind is not None and type_ not in TYPES:
        raise invalid((kind, f"Value must be one of: {', '.join(TYPES)}"))
    return title, str(type_), order if isinstance(order, int) else None


def _escaped(name: str) -> str:
    """A comma in a name is told with a backslash before it (the API's versions 1.x and 2.0, which began webhooks)."""
    return name.replace(",", "\\,")
