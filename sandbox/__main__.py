"""``python -m sandbox``: HubSpot, Mailchimp and, on request, EspoCRM and Brevo on this machine.

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

from sandbox.brevo import KEY as BREVO_KEY
from sandbox.brevo import SECRET as BREVO_SECRET
from sandbox.brevo import BrevoSim
from sandbox.brevo import fill as fill_brevo
from sandbox.espocrm import KEY as ESPOCRM_KEY
from sandbox.espocrm import SECRET as ESPOCRM_SECRET
from sandbox.espocrm import EspoSim, fill
from sandbox.hubspot import RATE, SEARCH_RATE, SECRET, TOKEN, HubSpotSim
from sandbox.mailchimp import KEY, LIST, MailchimpSim
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
    espocrm: EspoSim | None = None
    if args.espocrm:
        espocrm = EspoSim(
            key=args.espocrm_key,
            secret=args.espocrm_secret,
            webhook=args.espocrm_webhook,
            retry_span=args.retry_span,
            seed=args.seed,
        )
    brevo: BrevoSim | None = None
    if args.brevo:
        brevo = BrevoSim(
            key=args.brevo_key,
            secret=args.brevo_secret,
            webhook=args.brevo_webhook,
            retry_span=args.retry_span,
            seed=args.seed,
        )
    if not args.empty:
        populate(hubspot, mailchimp, args.people, args.seed)
        if espocrm is not None:
            fill(espocrm, [crm for crm, _ in people(args.people, args.seed) if crm is not None])
        if brevo is not None:
            fill_brevo(brevo, [other for _, other in people(args.people, args.seed) if other is not None])
    try:
        sandbox = Sandbox(
            hubspot,
            mailchimp,
            host=args.host,
            hubspot_port=args.hubspot_port,
            mailchimp_port=args.mailchimp_port,
            espocrm=espocrm,
            espocrm_port=args.espocrm_port,
            brevo=brevo,
            brevo_port=args.brevo_port,
        )
    except OSError as error:
        raise SystemExit(f"sandbox: cannot listen on {args.host}: {error.strerror}") from None
    secrets = {"webhook_secret": args.mailchimp_webhook_secret, "signing_secret": args.mailchimp_signing_secret}
    said: dict[str, object] = {
        "hubspot": {
            "side": "crm",
            "base_url": sandbox.hubspot_url,
            "credentials": {"access_token": args.hubspot_token, "client_secret": args.hubspot_secret},
        },
        "mailchimp": {
            "side": "marketing",
            "base_url": sandbox.mailchimp_url,
            "credentials": {
                "api_key": args.mailchimp_key,
                "list_id": args.mailchimp_list,
                **{name: secret for name, secret in secrets.items() if secret},
            },
        },
    }
    if espocrm is not None:
        opens = {"api_key": args.espocrm_key, "webhook_secrets": args.espocrm_secret}
        said["espocrm"] = {"side": "crm", "base_url": sandbox.espocrm_url, "credentials": opens}
    if brevo is not None:
        opens = {"api_key": brevo.key, "webhook_secrets": brevo.secret}
        said["brevo"] = {"side": "marketing", "base_url": sandbox.brevo_url, "credentials": opens}

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
    add("--espocrm", action="store_true", help="simulate EspoCRM too")
    add("--espocrm-port", type=int, default=0, help="0 = a free one (default)")
    add("--espocrm-webhook", metavar="URL", help="where EspoCRM's events go; ?event= is added")
    add("--espocrm-key", default=ESPOCRM_KEY, help="API key (default: %(default)s)")
    add("--espocrm-secret", default=ESPOCRM_SECRET, help="secret key of its webhooks (default: %(default)s)")
    add("--brevo", action="store_true", help="simulate Brevo too")
    add("--brevo-port", type=int, default=0, help="0 = a free one (default)")
    add("--brevo-webhook", metavar="URL", help="where Brevo's events go")
    add("--brevo-key", default=BREVO_KEY, help="API key (default: %(default)s)")
    add("--brevo-secret", default=BREVO_SECRET, help="bearer token of its webhooks (default: %(default)s)")
    add("--retry-span", type=float, default=60.0, help="seconds for all retries of a webhook (default: %(default)s)")
    add("--limits", action="store_true", help="enforce HubSpot's published rate limits too")
    add("--watch-parent", action="store_true", help="stop when standard input ends or the parent process dies")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
