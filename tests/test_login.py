"""Signing in: who gets a session, what a session is good for, and what others can do with it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import func, select, update

from app.console.login import safe
from app.core import tables as t
from app.core.errors import NotPossible
from app.core.settings import Config
from app.ops import auth
from app.ops.access import passwords, visitors
from app.records import accounts, attempts, sessions
from tests.signin import CHEAP, HOME, PASSWORD, TOKEN, House

MINUTE = 60_000


@pytest.fixture(scope="module", autouse=True)
def cheap() -> Iterator[None]:
    """Hashes that cost little: what they cost in use is the library's business."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "_HASHER", CHEAP)
        patch.setattr(passwords, "_NOBODYS", CHEAP.hash("nobody's"))
        yield


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    it = House(tmp_path_factory.mktemp("login"), token=TOKEN)
    it.account("ann")
    it.account("vic", "viewer")
    yield it
    it.close()


@pytest.fixture(autouse=True)
def forgiven(house: House) -> None:
    """Each test begins without failed logins."""
    with house.database.write() as db:
        db.execute(t.login_attempt.delete())


def count_sessions(house: House) -> int:
    with house.database.read() as db:
        return int(db.execute(select(func.count()).select_from(t.session)).scalar_one())


def later(house: House, ms: int) -> None:
    """As if time had passed: every moment of the sessions is moved back."""
    s = t.session.c
    with house.database.write() as db:
        db.execute(update(t.session).values(made_at=s.made_at - ms, seen_at=s.seen_at - ms, ends_at=s.ends_at - ms))


def test_a_page_leads_to_the_login_and_the_login_back(house: House) -> None:
    """With the parameters of the page that was asked for."""
    it = house.browser()
    sent = it("GET", "/console?said=hello")
    assert (sent.status_code, sent.headers["location"]) == (303, "/login?next=%2Fconsole%3Fsaid%3Dhello")
    done = it.sign_in("  ANN ", next="/console?said=hello")
    assert (done.status_code, done.headers["location"]) == (303, "/console?said=hello")
    assert it("GET", "/console").status_code == 200
    me = it("GET", "/me").json()
    assert (me["kind"], me["name"], me["role"]) == ("person", "ann", "admin")


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("ann", "another password"),
        ("ann", ""),
        ("ann", PASSWORD + " "),
        ("nobody", PASSWORD),
        ("", PASSWORD),
        ("ann", "x" * 1000),
        ("ann\r\nset-cookie: a=b", PASSWORD),
    ],
)
def test_a_wrong_login_says_nothing(house: House, name: str, password: str) -> None:
    """Not which of the two was wrong, and no session begins."""
    it, before = house.browser(), count_sessions(house)
    answer = it.sign_in(name, password)
    assert answer.status_code == 401
    assert "do not fit" in answer.text
    assert "tandem" not in it.cookies
    assert count_sessions(house) == before


def test_an_unknown_name_costs_a_hash_too(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the time of an answer says who has an account."""
    seen = []
    monkeypatch.setattr(passwords, "_HASHER", _Counting(seen))
    for name in ("ann", "nobody"):
        house.browser().sign_in(name, "another password")
    assert len(seen) == 2


class _Counting:
    def __init__(self, seen: list[Any]) -> None:
        self._seen = seen

    def verify(self, kept: str, password: bytes) -> None:
        self._seen.append(kept)
        CHEAP.verify(kept, password)


def test_secrets_are_compared_in_constant_time() -> None:
    """Every comparison of a secret goes through hmac.compare_digest; what is found by hash has 256 bits of chance."""
    for checked in (
        visitors.Visitors.is_installation,
        auth._without_form_token,
        auth.Guard._known,
    ):
        assert "hmac.compare_digest" in inspect.getsource(checked), checked
    assert "hashed(secret)" in inspect.getsource(sessions.found)


def test_the_cookie_is_closed_to_scripts_and_other_sites(house: House) -> None:
    """HttpOnly, SameSite, for the whole site, without an end of its own."""
    cookie = house.browser().sign_in("ann").headers.get_list("set-cookie")[0]
    assert cookie.startswith("tandem=")
    assert {part.strip().lower() for part in cookie.split(";")[1:]} == {"httponly", "samesite=lax", "path=/"}


def test_behind_https_the_cookie_is_for_https_alone(tmp_path: Any) -> None:
    """By prefix too: no sibling host can set it, and no plain request carries it.  And browsers are told to stay."""
    it = House(tmp_path, Config(public_url="https://tandem.example"), token=TOKEN)
    browser = it.browser(base="https://tandem.example")
    answer = browser("POST", "/login", data={"csrf": browser.csrf(), "token": TOKEN})
    cookie = answer.headers.get_list("set-cookie")[0].lower()
    assert cookie.startswith("__host-tandem=")
    assert "; secure" in cookie
    assert "; path=/" in cookie
    assert "domain" not in cookie
    assert answer.headers["strict-transport-security"].startswith("max-age=")
    assert browser("GET", "/me").json()["kind"] == "installation"
    it.close()


def test_the_store_keeps_no_session_that_opens_anything(house: House) -> None:
    """What stands in the table is a hash; sent as a cookie it is nobody's."""
    it = house.browser()
    it.sign_in("ann")
    with house.database.read() as db:
        kept = set(db.execute(select(t.session.c.id)).scalars())
    assert it.cookies["tandem"] not in kept
    thief = house.browser()
    thief.http.cookies.set("tandem", next(iter(kept)))
    assert thief("GET", "/console").status_code == 303


def test_a_login_ends_what_the_browser_held_before(house: House) -> None:
    """Session fixation: a session that somebody planted is not the one that is signed in, and ends."""
    attacker = house.browser()
    attacker.sign_in("vic")
    planted = attacker.cookies["tandem"]
    victim = house.browser()
    victim.http.cookies.set("tandem", planted)
    victim.sign_in("ann")
    assert victim.cookies["tandem"] != planted
    assert attacker("GET", "/console").status_code == 303
    # And one of the attacker's making is not taken up either.
    victim = house.browser()
    victim.http.cookies.set("tandem", "made-up", domain="tandem.example")
    victim.sign_in("ann")
    assert victim.http.cookies.get("tandem", path="/") != "made-up"


@pytest.mark.parametrize(("ms", "open_"), [(0, True), (29 * MINUTE, True), (31 * MINUTE, False)])
def test_a_session_ends_when_nobody_uses_it(house: House, ms: int, open_: bool) -> None:
    """After half an hour."""
    it = house.browser()
    it.sign_in("ann")
    later(house, ms)
    assert (it("GET", "/me").status_code == 200) is open_


def test_a_session_ends_however_much_it_is_used(house: House) -> None:
    """After eight hours; until then a look keeps it alive."""
    it = house.browser()
    it.sign_in("ann")
    for _ in range(16):
        assert it("GET", "/me").status_code == 200
        later(house, 29 * MINUTE)
    later(house, 29 * MINUTE)
    assert it("GET", "/me").status_code == 401 or it("GET", "/me").status_code == 303


@pytest.mark.parametrize("what", ["sign out", "disable", "role", "another token"])
def test_a_session_ends_with_its_reason(house: House, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, on every replica: the store is asked each time."""
    it = house.browser()
    if what == "another token":
        it("POST", "/login", data={"csrf": it.csrf(), "token": TOKEN})
    else:
        house.account(f"bo {what}", "operator")
        it.sign_in(f"bo {what}")
    assert it("GET", "/me").json()["role"] in {"operator", "admin"}
    if what == "sign out":
        answer = it("POST", "/logout", data={"csrf": it.csrf("/console")})
        assert answer.headers["location"] == "/login"
    elif what == "another token":
        monkeypatch.setattr(house.tandem.visitors, "_token", "another-token-since-then")
    else:
        values = {"disabled_at": 1} if what == "disable" else {"role": "viewer"}
        with house.database.write() as db:
            accounts.change(db, accounts.known(db, f"bo {what}")["id"], **values)
    assert it("GET", "/me").status_code == 303
    if what == "disable":
        assert it.sign_in("bo disable").status_code == 401


# --- CSRF -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "headers", "status"),
    [
        pytest.param({"csrf": "its own"}, {}, 303, id="the form of this session"),
        pytest.param({}, {}, 403, id="no field"),
        pytest.param({"csrf": ""}, {}, 403, id="an empty field"),
        pytest.param({"csrf": "another's"}, {}, 403, id="the form of another session"),
        pytest.param({"csrf": "0" * 64}, {}, 403, id="a guess"),
        pytest.param({"csrf": "ünsinn"}, {}, 403, id="not ASCII"),
        pytest.param({}, {"x-csrf-token": "its own"}, 303, id="by header, as a script sends it"),
        pytest.param({"csrf": "its own"}, {"origin": "https://evil.example"}, 403, id="another site that knows it"),
        pytest.param({"csrf": "its own"}, {"sec-fetch-site": "cross-site"}, 403, id="another site, by fetch metadata"),
        pytest.param({"csrf": "its own"}, {"sec-fetch-site": "same-site"}, 403, id="a sibling site"),
        pytest.param({"csrf": "its own"}, {"origin": HOME, "sec-fetch-site": "same-origin"}, 303, id="as browsers do"),
    ],
)
def test_a_change_carries_the_forms_token(
    house: House, form: dict[str, str], headers: dict[str, str], status: int
) -> None:
    """Bound to the session: neither none, nor a guess, nor that of another session of the same person."""
    it, other = house.browser(), house.browser()
    it.sign_in("ann")
    other.sign_in("ann")
    own = {"its own": it.csrf("/console"), "another's": other.csrf("/console")}
    form = {name: own.get(value, value) for name, value in form.items()}
    headers = {name: own.get(value, value) for name, value in headers.items()}
    assert it("POST", "/logout", data=form, headers=headers).status_code == status
    assert (it("GET", "/me").status_code == 200) is (status == 403)


def test_a_cookie_alone_changes_nothing_through_the_api(house: House) -> None:
    """JSON too: with the session's token in a header it does; a program's own token needs none."""
    it = house.browser()
    it.sign_in("ann")
    asked = {"name": "x", "role": "viewer", "by": "Kim"}
    assert it("POST", "/tokens", json=asked).status_code == 403
    made = it("POST", "/tokens", json=asked, headers={"x-csrf-token": it.csrf("/console")})
    assert made.status_code == 201
    assert made.json()["made_by"] == "ann"


@pytest.mark.parametrize("csrf", [None, "", "0" * 64])
def test_nobody_is_signed_in_by_another_site(house: House, csrf: str | None) -> None:
    """Login CSRF: the login's form is bound to the browser, too, and comes from our own page."""
    it = house.browser()
    right = {"name": "ann", "password": PASSWORD, "csrf": it.csrf()}
    assert it("POST", "/login", data=right, headers={"origin": "https://evil.example"}).status_code == 403
    it.csrf()
    form = {"name": "ann", "password": PASSWORD} | ({"csrf": csrf} if csrf is not None else {})
    assert it("POST", "/login", data=form).status_code == 403
    stranger = house.browser()
    form["csrf"] = it.csrf()  # a form token that the attacker's own browser was given
    assert stranger("POST", "/login", data=form).status_code == 403


def test_the_guard_against_csrf_is_what_refuses(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the guard: without the check a bare form signs out."""
    monkeypatch.setattr(auth, "_without_form_token", lambda *_: None)
    it = house.browser()
    it.sign_in("ann")
    assert it("POST", "/logout").status_code == 303


# --- where the login leads --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "led"),
    [
        ("/console/contacts/7?tab=a&b=%2F", "/console/contacts/7?tab=a&b=%2F"),
        ("/", "/"),
        (None, "/"),
        ("", "/"),
        ("//evil.example", "/"),
        ("///evil.example", "/"),
        ("/\\evil.example", "/"),
        ("/\t/evil.example", "/"),
        ("/\n/evil.example", "/"),
        ("https://evil.example", "/"),
        ("javascript:alert(1)", "/"),
        ("console", "/"),
        ("/a\r\nset-cookie: tandem=x", "/"),
        ("/logout", "/"),
        ("/login?next=/console", "/"),
        ("/\u2028x", "/"),
        ("/grün?q=日", "/gr%C3%BCn?q=%E6%97%A5"),
    ],
)
def test_the_login_leads_to_our_own_pages_only(target: str | None, led: str) -> None:
    """Open redirect, and headers smuggled in."""
    assert safe(target) == led


def test_the_form_leads_nowhere_else(house: House) -> None:
    """Neither by the address nor by the form."""
    it = house.browser()
    page = it("GET", "/login?next=https://evil.example")
    assert "evil.example" not in page.text
    assert it.sign_in("ann", next="//evil.example").headers["location"] == "/"


# --- too many tries ---------------------------------------------------------------------------------------------------


def test_a_guesser_is_stopped_and_the_owner_is_not(house: House) -> None:
    """Five wrong ones of a name from one address; right ones are not looked at then, but from elsewhere they are."""
    guesser = house.browser("198.51.100.1")
    statuses = [guesser.sign_in("ann", f"guess number {n}").status_code for n in range(6)]
    assert statuses == [401] * 5 + [429]
    stopped = guesser.sign_in("ann")
    assert stopped.status_code == 429
    assert int(stopped.headers["retry-after"]) > 0
    assert house.browser("198.51.100.2").sign_in("ann").status_code == 303


def test_behind_a_proxy_a_guesser_is_told_from_the_owner(house: House) -> None:
    """By what the proxy adds last; what somebody puts before it changes nothing."""
    proxy = house.browser("10.0.0.1")
    for n in range(6):
        form = {"csrf": proxy.csrf(), "name": "ann", "password": f"guess number {n}"}
        last = proxy("POST", "/login", data=form, headers={"x-forwarded-for": f"192.0.2.{n}, 198.51.100.1"})
    assert last.status_code == 429
    form = {"csrf": proxy.csrf(), "name": "ann", "password": PASSWORD}
    assert proxy("POST", "/login", data=form, headers={"x-forwarded-for": "198.51.100.2"}).status_code == 303


def test_a_flood_makes_no_rows(house: House) -> None:
    """Neither counts nor acts, once an address is stopped."""
    with house.database.write() as db:
        for n in range(attempts.ADDRESS + 20):
            attempts.count(db, f"name {n}", "192.0.2.99")
        rows = db.execute(select(func.count()).select_from(t.login_attempt)).scalar_one()
    assert rows == 1 + 2 * attempts.ADDRESS
    with house.database.read() as db:
        before = db.execute(select(func.count()).select_from(t.audit)).scalar_one()
    assert house.browser("192.0.2.99").sign_in("ann").status_code == 429
    with house.database.read() as db:
        assert db.execute(select(func.count()).select_from(t.audit)).scalar_one() == before


def test_a_guesser_with_many_addresses_is_stopped_too(house: House) -> None:
    """By the name's own count; and one with many names by the address's."""
    with house.database.write() as db:
        waits = [attempts.count(db, "vic", f"192.0.2.{n}") for n in range(attempts.NAME + 1)]
        assert [w > 0 for w in waits] == [False] * attempts.NAME + [True]
        waits = [attempts.count(db, f"name {n}", "192.0.2.99") for n in range(attempts.ADDRESS + 1)]
        assert [w > 0 for w in waits] == [False] * attempts.ADDRESS + [True]


def test_counts_are_shared_end_and_are_taken_back(house: House) -> None:
    """In the store, so that replicas count together; over after the window; and a right login takes them back."""
    with house.database.write() as db:
        for _ in range(attempts.PAIR):
            assert attempts.count(db, "ann", "192.0.2.1") == 0
        attempts.clear(db, "ann", "192.0.2.1")
        assert attempts.count(db, "ann", "192.0.2.1") == 0
        for _ in range(attempts.PAIR):
            attempts.count(db, "ann", "192.0.2.1")
        assert attempts.count(db, "ann", "192.0.2.1") > 0
        db.execute(update(t.login_attempt).values(since=t.login_attempt.c.since - attempts.WINDOW_MS))
        assert attempts.count(db, "ann", "192.0.2.1") == 0
        db.execute(update(t.login_attempt).values(since=0))
        assert attempts.forget(db) > 0
        kept = str(db.execute(select(t.login_attempt)).all())
    assert "ann" not in kept


def test_the_installations_token_opens_the_console(house: House) -> None:
    """For small installations; guesses are counted."""
    it = house.browser()
    assert it("POST", "/login", data={"csrf": it.csrf(), "token": "a wrong one"}).status_code == 401
    assert it("POST", "/login", data={"csrf": it.csrf(), "token": TOKEN}).status_code == 303
    assert it("GET", "/me").json() | {"permissions": []} == {
        "kind": "installation",
        "name": None,
        "role": "admin",
        "permissions": [],
        "masked": False,
    }


def test_a_flood_of_logins_waits_for_nobody_elses_memory(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two hashes at a time; who would wait for longer is told to come again."""
    monkeypatch.setattr(passwords, "WAIT_SECONDS", 0.01)
    for _ in range(2):
        passwords._AT_ONCE.acquire()
    try:
        assert house.browser().sign_in("ann").status_code == 429
    finally:
        for _ in range(2):
            passwords._AT_ONCE.release()
    assert house.browser().sign_in("ann").status_code == 303


@pytest.mark.parametrize(
    ("password", "why"),
    [
        ("short", "at least 15"),
        ("a" * 300, "at most"),
        ("aaaaaaaaaaaaaaaaaa", "again and again"),
        ("ann-ann-ann-2026!", "name"),
    ],
)
def test_what_may_be_a_password(password: str, why: str) -> None:
    """And the refusal does not repeat it."""
    with pytest.raises(NotPossible, match=why) as refused:
        passwords.hashed(password, "ann")
    assert password not in str(refused.value)


def test_a_weak_hash_is_made_anew(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the next login, when the parameters have become stronger."""
    house.account("old")
    stronger = type(CHEAP)(time_cost=2, memory_cost=16, parallelism=1)
    monkeypatch.setattr(passwords, "_HASHER", stronger)
    assert house.browser().sign_in("old").status_code == 303
    with house.database.read() as db:
        assert not stronger.check_needs_rehash(str(accounts.known(db, "old")["password"]))


# --- headers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/login", "/console", "/static/console.css", "/me", "/nowhere"])
def test_every_answer_is_shielded(house: House, path: str) -> None:
    """No inline script, no frame, no sniffing, nothing kept; pages and errors alike."""
    it = house.browser()
    it.sign_in("ann")
    headers = it("GET", path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "base-uri 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-frame-options"] == "DENY"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["referrer-policy"] == "same-origin"
    assert "camera=()" in headers["permissions-policy"]


def test_a_viewer_sees_a_smaller_menu(house: House) -> None:
    """And is told what is missing where it asks for more, on a page."""
    it = house.browser()
    it.sign_in("vic")
    assert it("GET", "/console").status_code == 200
    refused = it("GET", "/audit")
    assert refused.status_code == 403
    assert "needs the permission audit" in refused.json()["detail"]


def test_without_accounts_and_token_this_machine_is_answered(tmp_path: Any) -> None:
    """And with the first account it is not any more, not even once that is disabled."""
    it = House(tmp_path)
    here = it.browser("127.0.0.1", "http://127.0.0.1:8000")
    far = it.browser()
    assert here("GET", "/me").json()["kind"] == "local"
    assert far("GET", "/console").headers["location"] == "/login?next=%2Fconsole"
    assert "Nobody can sign in yet" in far("GET", "/login").text
    it.account("ann")
    assert here("GET", "/me").status_code == 303
    with it.database.write() as db:
        accounts.change(db, accounts.known(db, "ann")["id"], disabled_at=1)
    assert here("GET", "/me").status_code == 303
    it.close()
