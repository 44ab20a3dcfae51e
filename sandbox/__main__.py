"""``python -m sandbox``: HubSpot, Mailchimp and, on request, other vendors on this machine.

They are filled with people who do not exist.  One line of JSON on standard output says where they are and what opens
them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Callable, Sequence

import orjson

from sandbox.agreed import PROPERTIES, make_fields
from sandbox.control import Simulator
from sandbox.further import FURTHER, Start
from sandbox.hubspot import RATE, SEARCH_RATE, SECRET, TOKEN, HubSpotSim
from sandbox.hubspot_consent import MIRRORS
from sandbox.hubspot_events import SUBSCRIBED
from sandbox.mailchimp import KEY, LIST, MailchimpSim
from sandbox.oauth import CLIENT, CLIENT_SECRET
from sandbox.people import people, populate
from sandbox.serve import Sandbox, loop_factory

_LOOK = 0.5  # seconds between two looks for the parent process


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM, SIGINT or, with ``--watch-parent``, until the parent is gone."""
    args = _parser().parse_args(argv)
    hubspot = HubSpotSim(
        token=args.hubspot_token,
        secret=args.hubspot_secret,
        webhook=args.hubspot_webhook,
        subscribed=(*SUBSCRIBED, *MIRRORS, *(PROPERTIES if args.agreed else ())),
        rate=RATE if args.limits else None,
        search_rate=SEARCH_RATE if args.limits else None,
        retry_span=args.retry_span,
        seed=args.seed,
    )
    mailchimp = MailchimpSim(
        key=args.mailchimp_key,
        list_id=args.mailchimp_list,
        webhook=args.mailchimp_webhook,
        webhook_secret=args.mailchimp_webhook_secret,
        signing_secret=args.mailchimp_signing_secret,
        retry_span=args.retry_span,
        seed=args.seed,
    )
    if args.agreed:
        make_fields(hubspot, mailchimp)
    further: dict[str, Simulator] = {}
    for name in (n for n in FURTHER if getattr(args, n)):
        secrets = {s: getattr(args, f"{name}_{s}") for s in FURTHER[name].secrets}
        webhook = getattr(args, f"{name}_webhook")
        further[name] = FURTHER[name].make(Start(secrets, webhook, args.limits, args.retry_span, args.seed))
    if not args.empty:
        populate(hubspot, mailchimp, args.people, args.seed)
        for name, sim in further.items():
            crowd = people(args.people, args.seed)
            there = [crm if FURTHER[name].side == "crm" else own for crm, own in crowd]
            FURTHER[name].fill(sim, [person for person in there if person is not None])
    try:
        sandbox = Sandbox(
            hubspot,
            mailchimp,
            host=args.host,
            ports={name: getattr(args, f"{name}_port") for name in ("hubspot", "mailchimp", *FURTHER)},
            **further,
        )
    except OSError as error:
        raise SystemExit(f"sandbox: cannot listen on {args.host}: {error.strerror}") from None
    signing = {"webhook_secret": args.mailchimp_webhook_secret, "signing_secret": args.mailchimp_signing_secret}
    said: dict[str, object] = {
        "hubspot": {
            "side": "crm",
            "base_url": sandbox.hubspot_url,
            "credentials": {"access_token": args.hubspot_token, "client_secret": args.hubspot_secret},
            "oauth": {"login_url": sandbox.hubspot_url, "client_id": CLIENT, "client_secret": args.hubspot_secret},
        },
        "mailchimp": {
            "side": "marketing",
            "base_url": sandbox.mailchimp_url,
            "credentials": {
                "api_key": args.mailchimp_key,
                "list_id": args.mailchimp_list,
                **{name: secret for name, secret in signing.items() if secret},
            },
            "oauth": {
                "login_url": sandbox.mailchimp_url.removesuffix("/3.0"),
                "client_id": CLIENT,
                "client_secret": CLIENT_SECRET,
            },
        },
    }
    for name, sim in further.items():
        one = FURTHER[name]
        said[name] = {"side": one.side, "base_url": sandbox.url(name), "credentials": one.opens(sim)}

    async def serve() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        watching = asyncio.create_task(_watch_parent(stop)) if args.watch_parent else None
        await sandbox.serve(stop, lambda: _say(orjson.dumps(said)))
        if watching is not None:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching

    with asyncio.Runner(loop_factory=loop_factory(hubspot)) as runner:
        runner.run(serve())
    return 0


def _say(line: bytes) -> None:
    os.write(1, line + b"\n")


async def _watch_parent(stop: asyncio.Event) -> None:
    """Stop once standard input ends or the process has a new parent."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    threading.Thread(target=_read_to_end, args=(lambda: loop.call_soon_threadsafe(ended.set),), daemon=True).start()
    parent = os.getppid()
    while not ended.is_set() and os.getppid() == parent:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), _LOOK)
    stop.set()


def _read_to_end(then: Callable[[], object]) -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 4096):  # not sys.stdin: a thread that blocks in it would abort the interpreter at its end
            pass
    with contextlib.suppress(RuntimeError):  # the loop is closed: stopped already
        then()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sandbox", description=main.__doc__)
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    add("--hubspot-port", type=int, default=0, help="0 = a free one (default)")
    add("--mailchimp-port", type=int, default=0, help="0 = a free one (default)")
    add("--people", type=int, default=200, help="how many people there are in all (default: %(default)s)")
    add("--seed", type=int, default=1, help="the same seed, the same people (default: %(default)s)")
    add("--empty", action="store_true", help="start without people")
    add("--hubspot-webhook", metavar="URL", help="where HubSpot's events go")
    add("--mailchimp-webhook", metavar="URL", help="where Mailchimp's events go")
    add("--hubspot-token", default=TOKEN, help="access token (default: %(default)s)")
    add("--hubspot-secret", default=SECRET, help="client secret that signs webhooks (default: %(default)s)")
    add("--mailchimp-key", default=KEY, help="API key (default: %(default)s)")
    add("--mailchimp-list", default=LIST, help="id of the audience (default: %(default)s)")
    add("--mailchimp-webhook-secret", default="", help="goes as ?secret= into the webhook's URL")
    add("--mailchimp-signing-secret", default="", help="signs webhooks; empty = unsigned (default)")
    for name, one in FURTHER.items():
        add(f"--{name}", action="store_true", help=f"simulate {one.title} too")
        add(f"--{name}-port", type=int, default=0, help="0 = a free one (default)")
        add(f"--{name}-webhook", metavar="URL", help=f"where {one.title}'s events go{one.told}")
        for secret, (default, about) in one.secrets.items():
            add(f"--{name}-{secret}", default=default, help=f"{about} (default: %(default)s)")
    add("--retry-span", type=float, default=60.0, help="seconds for all retries of a webhook (default: %(default)s)")
    add("--agreed", action="store_true", help="with the fields of an agreement between sales and marketing")
    add("--limits", action="store_true", help="enforce published rate limits too, where a simulator knows them")
    add("--watch-parent", action="store_true", help="stop when standard input ends or the parent process dies")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
